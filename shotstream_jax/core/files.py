"""A file has its final name only when it is whole."""

import pathlib


def write_whole(path: pathlib.Path, data: bytes) -> None:
    """Writes beside the name first, then renames; what fails leaves nothing. Raises OSError."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
