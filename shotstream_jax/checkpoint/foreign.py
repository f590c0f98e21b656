"""What is often saved under a weight file's name in place of the weights."""

import pathlib

from shotstream_jax.core.errors import InputError

_LONGEST_SIGN = 256  # bytes of a file's beginning that tell what it is
_POINTER = b"version https://git-lfs.github.com/spec/"
_HTML = (b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body")


def check_is_weights(path: pathlib.Path) -> None:
    """Refuses what is no weight file of any kind: nothing, a web page, a pointer of Git LFS.

    Raises InputError with the reason and the remedy, also if there is no such file.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_LONGEST_SIGN)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no weight file {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None

    if not beginning:
        raise InputError(f"{path} is empty: fetch or convert it again")
    if beginning.startswith(_POINTER):
        raise InputError(
            f"{path} is a pointer of Git LFS, not the weights: fetch them with 'git lfs pull'"
        )
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_HTML):
        raise InputError(
            f"{path} is a web page, not the weights: fetch the file itself "
            "(the link that says download; some hubs want you to log in first)"
        )
