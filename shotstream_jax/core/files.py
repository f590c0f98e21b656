"""Writing files so that a file has its final name only when it is complete."""

import contextlib
import errno
import json
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.values import as_path

_LEAST_SPACE = 16 * 2**20  # bytes; some minutes of video at 480×832


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path beside `path` to write to; renamed at the end, removed if anything fails."""
    partial = path.with_name(path.name + ".partial")
    # A name beside the final one: on the same disk, so that renaming it is one step.
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_whole(path: pathlib.Path, data: bytes) -> None:
    """Writes a file, completely or not at all. Raises OSError."""
    with whole(path) as partial:
        partial.write_bytes(data)


def write_new(path: pathlib.Path, content: Callable[[], bytes]) -> bool:
    """Writes a file that is not there yet, completely or not at all.

    content: makes what is in it, if it is needed. Returns False, and changes nothing, if the file
    is there; of several processes that write it at once one wins. Raises OSError.
    """
    if path.exists():
        return False
    # A name that no other writer has, on the same disk.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.write_bytes(content())
        try:
            # A second name for the file: unlike renaming it, that never replaces another one.
            path.hardlink_to(partial)
        except FileExistsError:
            return False
        except OSError:
            # A disk without such names.
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return True


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a value as indented JSON in UTF-8, completely or not at all. Raises OSError."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    write_whole(path, f"{text}\n".encode())


def check_writable(path: str | pathlib.Path, suffix: str = "") -> pathlib.Path:
    """The path of an output file, checked before any work is done.

    Raises InputError if its name does not end in `suffix` ("" for any), or if it cannot be written.
    Leaves nothing behind, not even a folder.
    """
    path = as_path(path, "output")
    if suffix and path.suffix != suffix:
        raise InputError(f"output {path} must end in {suffix}")
    try:
        if path.is_dir():
            raise InputError(f"output {path} is a folder: name a file")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None
    _check_place(path, path.absolute().parent)
    return path


def check_writable_folder(folder: str | pathlib.Path, what: str) -> pathlib.Path:
    """The path of a folder to write files to, which need not be there, checked as `check_writable`.

    what: the folder is, for messages.
    """
    folder = as_path(folder, what)
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: name a folder for {what}")
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another place") from None
    _check_place(folder, folder.absolute())
    return folder


def _check_place(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Raises InputError if `path` cannot be written in `folder`, which need not be there."""
    try:
        # The nearest folder that is there; the ones below it are made when the file is written.
        while not folder.exists():
            folder = folder.parent
        # A file without a name shows that the folder can be written, and vanishes by itself.
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None
    if free < _LEAST_SPACE:
        there = f"{free / 2**20:.0f} MB are free"
        needed = f"{_LEAST_SPACE / 2**20:.0f} MB are needed"
        raise InputError(f"cannot write {path}: {there}, {needed}")


def read_at(path: pathlib.Path, start: int, nbytes: int) -> np.ndarray:
    """Some bytes of a file, and no others: uint8 [nbytes].

    Raises OSError, also if the file ends before.
    """
    data = np.empty(nbytes, np.uint8)
    rest = data.data
    # Without a buffer, which would read some kilobytes for each small array.
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while rest:
            # One call gives at most 2 GB.
            count = file.readinto(rest)
            if not count:
                raise OSError(errno.EIO, f"it ends {len(rest)} bytes too early")
            rest = rest[count:]
    return data
