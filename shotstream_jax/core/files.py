"""A file has its final name only when it is whole."""

import contextlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from shotstream_jax.core.errors import InputError

_LEAST_SPACE = 16 * 2**20  # bytes; some minutes of video at 480×832


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path beside the name to write to; renames it at the end, removes it if anything fails."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_whole(path: pathlib.Path, data: bytes) -> None:
    """Writes a file at once. Raises OSError."""
    with whole(path) as partial:
        partial.write_bytes(data)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a value as JSON, whole or not at all, in UTF-8. Raises OSError."""
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def check_writable(path: str | pathlib.Path, suffix: str) -> pathlib.Path:
    """Refuses a path that cannot be written, before any work. Leaves nothing behind, not even a folder."""
    path = pathlib.Path(path)
    if path.suffix != suffix:
        raise InputError(f"output {path} must end in {suffix}")
    try:
        if path.is_dir():
            raise InputError(f"output {path} is a folder: name a file")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None
    if free < _LEAST_SPACE:
        raise InputError(
            f"cannot write {path}: {free / 2**20:.0f} MB are free, {_LEAST_SPACE / 2**20:.0f} MB are needed"
        )
    return path
