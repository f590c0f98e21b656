"""A file has its final name only when it is whole."""

import contextlib
import pathlib
from collections.abc import Iterator


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
