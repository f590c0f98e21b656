"""The header of a `.gguf` file: facts by name, and where its arrays lie.

The format: `GGUF`, a version, the numbers of arrays and of facts; the facts, each a name, a type
and a value (a number, a text or a list of either); the arrays, each a name, a shape, a type and a
place. All sizes come from the file: none is believed before the bytes are there.
"""

import math
import os
import pathlib
import struct
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.checkpoint.foreign import check_is_weights
from shotstream_jax.core.errors import InputError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# A tokeniser of 256,000 words takes 6 MB of it.
_LARGEST_HEADER = 32 * 2**20
_MOST_AXES = 8
_LONGEST_REASON = 200  # characters of an error's
_MOST_ENTRIES = 2**40  # of an array
_ALIGNMENT = 32  # of the arrays' bytes, unless the facts say otherwise

# A value's type by its number; texts and lists are apart.
_NUMBERS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_TEXT = 8
_LIST = 9


class GgufArray(NamedTuple):
    """An array as the header has it: its axes in the usual order, GGUF's number of its type."""

    shape: tuple[int, ...]
    type: int
    offset: int  # bytes, from the start of the data


class GgufHeader(NamedTuple):
    """What a `.gguf` file says of itself."""

    facts: dict[str, Any]
    arrays: dict[str, GgufArray]
    data_start: int
    size: int  # of the file


def read_gguf_header(path: pathlib.Path) -> GgufHeader:
    """The header of a `.gguf` file. Raises InputError if the file is missing or damaged."""
    check_is_weights(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            cursor = _Cursor(file.read(min(size, _LARGEST_HEADER)))
        return _parse(cursor, size)
    except (OSError, ValueError, LookupError, struct.error, OverflowError) as error:
        # A damaged name may be as long as the file.
        reason = str(error)[:_LONGEST_REASON]
        raise InputError(
            f"{path} is damaged, or not a GGUF file ({reason}): fetch it again"
        ) from None


class _Cursor:
    """The next bytes of a header."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next bytes. Raises ValueError if there are fewer."""
        if count > len(self.data) - self.at:
            raise ValueError(f"its header ends within the {count} bytes at {self.at}")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken

    def u32(self) -> int:
        """The next number of 4 bytes."""
        (number,) = struct.unpack("<I", self.take(4))
        return number

    def u64(self) -> int:
        """The next number of 8 bytes."""
        (number,) = struct.unpack("<Q", self.take(8))
        return number

    def text(self) -> str:
        """The next text: its length, and UTF-8."""
        return self.take(self.u64()).decode()

    def value(self, kind: int) -> Any:
        """The next value of a type."""
        if kind == _TEXT:
            return self.text()
        if kind == _LIST:
            return self._list()
        (number,) = np.frombuffer(self.take(_NUMBERS[kind].itemsize), _NUMBERS[kind])
        return number.item()

    def _list(self) -> list[Any]:
        kind = self.u32()
        count = self.u64()
        if kind == _TEXT:
            # Each has its length at least.
            if count * 8 > len(self.data) - self.at:
                raise ValueError(f"its header has no room for {count} texts")
            return [self.text() for _ in range(count)]
        numbers = np.frombuffer(self.take(count * _NUMBERS[kind].itemsize), _NUMBERS[kind])
        return numbers.tolist()


def _parse(cursor: _Cursor, size: int) -> GgufHeader:
    # Magic, version, and how many of each follow.
    if cursor.take(4) != _MAGIC:
        raise ValueError("it does not start with GGUF")
    version = cursor.u32()
    if version not in _VERSIONS:
        raise ValueError(f"its version is {version}, read are 2 and 3 of the usual byte order")
    array_count = cursor.u64()
    fact_count = cursor.u64()
    # What the file says about itself, then what it says about each array.
    facts: dict[str, Any] = {}
    for _ in range(fact_count):
        name = cursor.text()
        if name in facts:
            raise ValueError(f"{name!r} is there twice")
        facts[name] = cursor.value(cursor.u32())
    arrays: dict[str, GgufArray] = {}
    for _ in range(array_count):
        name = cursor.text()
        if name in arrays:
            raise ValueError(f"{name!r} is there twice")
        arrays[name] = _parse_array(cursor, name)
    # The numbers begin at the next whole multiple of the alignment.
    alignment = facts.get("general.alignment", _ALIGNMENT)
    if type(alignment) is not int or alignment < 1:
        raise ValueError(f"its alignment is {alignment!r}")
    data_start = math.ceil(cursor.at / alignment) * alignment
    return GgufHeader(facts, arrays, data_start, size)


def _parse_array(cursor: _Cursor, name: str) -> GgufArray:
    axes = cursor.u32()
    if axes > _MOST_AXES:
        raise ValueError(f"{name!r} has {axes} axes")
    lengths = [cursor.u64() for _ in range(axes)]
    if max(lengths, default=0) > _MOST_ENTRIES or math.prod(lengths) > _MOST_ENTRIES:
        raise ValueError(f"{name!r} has the shape {lengths}")
    kind = cursor.u32()
    # The fastest axis is stored first.
    return GgufArray(tuple(reversed(lengths)), kind, cursor.u64())
