"""Which container a weight file is: told by its first bytes, whatever it is called."""

import pathlib
from typing import Literal

from shotstream_jax.checkpoint.foreign import check_is_weights
from shotstream_jax.core.errors import InputError

Container = Literal["safetensors", "torch", "gguf"]

# What a file should be by its name, if its bytes do not tell.
_SUFFIXES: dict[str, Container] = {
    ".safetensors": "safetensors",
    ".sft": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".ckpt": "torch",
    ".gguf": "gguf",
}
_LONGEST_HEADER = 2**32  # bytes; the length that a .safetensors file starts with


def container_of(path: pathlib.Path) -> Container:
    """The container of a weight file.

    Raises InputError if there is no such file, or if neither its bytes nor its name are those of a
    weight file.
    """
    if path.is_dir():
        raise InputError(f"there is no weight file {path}: it is a folder")
    check_is_weights(path)
    with path.open("rb") as file:
        beginning = file.read(9)
    if beginning.startswith(b"GGUF"):
        return "gguf"
    # A zip, or an old file's first pickle.
    if beginning.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "torch"
    # The length of a header, and its first character.
    length = int.from_bytes(beginning[:8], "little")
    if beginning[8:] == b"{" and length < _LONGEST_HEADER:
        return "safetensors"
    if path.suffix not in _SUFFIXES:
        raise InputError(
            f"{path} is not a known weight file: "
            "expected .safetensors, .safetensors.index.json, .pt, .pth, .bin or .gguf"
        )
    return _SUFFIXES[path.suffix]
