"""Files that keep two processes from writing the same output, held by the operating system.

A lock ends with the process that holds it, however that ends.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from absl import logging

from shotstream_jax.core.errors import InputError

# What file systems answer that cannot lock.
_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(path: pathlib.Path, what: str, remedy: str) -> Iterator[None]:
    """Holds the lock file `path` inside; it is removed at the end.

    Where the file system cannot lock, a warning says so and the work goes on.

    Args:
      path: the lock file; its folder must be there.
      what: the output that is being written, for the message.
      remedy: what to do if another process writes it.

    Raises:
      InputError: if another process holds it; the message names its host and number.
    """
    file = _take(path, what, remedy)
    try:
        yield
    finally:
        # Removed before it is let go: whoever opens it now makes a new file.
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


def _take(path: pathlib.Path, what: str, remedy: str) -> IO[str]:
    """The open lock file, locked, with this process in it."""
    while True:
        file = _open(path, what)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _CANNOT_LOCK:
                logging.warning(
                    "%s cannot be locked (%s): write it once only", what, error.strerror
                )
                return file
            holder = file.read().strip() or "another process"
            file.close()
            raise InputError(f"{what} is being written by {holder}: {remedy}") from None
        # The one before may have removed the file between opening and locking it.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def _open(path: pathlib.Path, what: str) -> IO[str]:
    """The lock file, made if it is not there, its content untouched."""
    try:
        file = path.open("a+")
    except OSError as error:
        raise InputError(f"cannot write {what}: {error.strerror}; choose another place") from None
    file.seek(0)
    return file
