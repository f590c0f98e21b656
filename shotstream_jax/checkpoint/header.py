"""The header of a `.safetensors` file, read and checked before any array is.

The format: the header's length (8 bytes, little-endian), the header as JSON, the arrays' bytes one
after another. The header gives each array's type, shape and place, and may have texts under
`__metadata__`. All of it comes from the file, so nothing in it is believed: places must lie in the
file, follow each other and have the size of their array.
"""

import json
import math
import os
import pathlib
import struct
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from shotstream_jax.checkpoint.foreign import check_is_weights
from shotstream_jax.core.errors import InputError

FILE_TYPES = {
    "F32": np.dtype(np.float32),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F64": np.dtype(np.float64),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "U32": np.dtype(np.uint32),
    "U64": np.dtype(np.uint64),
    "BOOL": np.dtype(np.bool_),
}

# Types of the format that are not read, and where they occur.
_UNREAD_TYPES = {
    "F4": "4-bit floats, of mxfp4 and nvfp4",
    "F6_E2M3": "6-bit floats, of mxfp6",
    "F6_E3M2": "6-bit floats, of mxfp6",
    "F8_E8M0": "scales of mxfp8 and mxfp4",
    "F8_E4M3FNUZ": "8-bit floats of some AMD GPUs",
    "F8_E5M2FNUZ": "8-bit floats of some AMD GPUs",
    "C64": "complex numbers",
}

_METADATA = "__metadata__"
_LENGTH_BYTES = 8
# A header of a thousand arrays takes 0.1 MB; parsing takes up to twenty times its length.
_LARGEST_HEADER = 32 * 2**20
_MOST_AXES = 32
_LONGEST_REASON = 200  # characters of an error's
_LARGEST_COUNT = 2**48  # of entries or bytes; larger ones are lies


class ArrayPlace(NamedTuple):
    """An array's type and shape, and where its bytes start in the file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


class FileHeader(NamedTuple):
    """What a `.safetensors` file says of itself: its arrays by name, and its texts."""

    arrays: dict[str, ArrayPlace]
    metadata: dict[str, str]


def read_header(path: pathlib.Path) -> FileHeader:
    """The header of a `.safetensors` file.

    Raises InputError if the file is missing or damaged, if its header does not fit it, or if it has
    arrays of a type that is not read.
    """
    check_is_weights(path)
    try:
        size, text = _header_text(path)
        entries = json.loads(text, object_pairs_hook=_without_repeats)
        del text
        return _checked_header(path, entries, size)
    except InputError:
        raise
    # Also what JSON raises over text that is no JSON, no UTF-8 or too deep.
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise unreadable(path, error) from None


def unreadable(path: pathlib.Path, reason: Exception | str) -> InputError:
    """The error for a file that is damaged: a public one as well as a stored part."""
    # A damaged name may be as long as the file.
    short = str(reason)[:_LONGEST_REASON]
    return InputError(f"{path} is unreadable or truncated ({short}): fetch or convert it again")


def _header_text(path: pathlib.Path) -> tuple[int, bytes]:
    """The bytes that follow the header, as the file's size has them, and the header itself."""
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        if total < _LENGTH_BYTES:
            raise ValueError(f"it has {total} bytes")
        (length,) = struct.unpack("<Q", file.read(_LENGTH_BYTES))
        size = total - _LENGTH_BYTES - length
        if size < 0:
            raise ValueError(f"its header should have {length} bytes, the file has {total}")
        if length > _LARGEST_HEADER:
            raise ValueError(
                f"its header has {length >> 20} MB, more than {_LARGEST_HEADER >> 20} MB"
            )
        return size, file.read(length)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; a name that is there twice is an error."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _checked_header(path: pathlib.Path, entries: Any, size: int) -> FileHeader:
    """The header's entries as what they mean. size: bytes after the header."""
    if not isinstance(entries, dict):
        raise ValueError("its header is no JSON object")
    metadata = entries.pop(_METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not texts")

    _check_types(path, entries)
    data_start = path.stat().st_size - size
    arrays = {}
    ranges = []
    for name, entry in entries.items():
        name.encode()  # half a character, which JSON can hold, is an error
        shape = _checked_shape(name, entry["shape"])
        dtype = FILE_TYPES[entry["dtype"]]
        start, end = _checked_offsets(name, entry["data_offsets"])
        if end - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has {end - start} bytes for {dtype} {list(shape)}")
        arrays[name] = ArrayPlace(dtype, shape, data_start + start)
        ranges.append((start, end, name))
    _check_ranges(ranges, size)
    return FileHeader(arrays, metadata)


def _check_types(path: pathlib.Path, entries: dict[str, Any]) -> None:
    """Refuses a file that has a type which is not read, naming the type and the first arrays."""
    unknown: dict[str, list[str]] = {}
    for name, entry in entries.items():
        type_name = str(entry["dtype"])[:_LONGEST_REASON]
        if type_name not in FILE_TYPES:
            unknown.setdefault(type_name, []).append(name)
    for type_name, names in unknown.items():
        meaning = ""
        if type_name in _UNREAD_TYPES:
            meaning = f" ({_UNREAD_TYPES[type_name]})"
        first = ", ".join(names[:3])[:_LONGEST_REASON]
        raise InputError(
            f"{path} has the type {type_name}{meaning}, which is not read: {first}; "
            f"read are {', '.join(FILE_TYPES)}"
        )


def _checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    is_list = isinstance(shape, list) and len(shape) <= _MOST_AXES
    if not is_list or not all(_is_count(length) for length in shape):
        raise ValueError(f"{name} has no shape")
    return tuple(shape)


def _checked_offsets(name: str, offsets: Any) -> tuple[int, int]:
    is_pair = isinstance(offsets, list) and len(offsets) == 2
    if not is_pair or not all(_is_count(offset) for offset in offsets):
        raise ValueError(f"{name} has no place in the file")
    start, end = offsets
    return start, end


def _is_count(value: Any) -> bool:
    """Whether a value is a number of entries or bytes; true and false, say, are not."""
    return type(value) is int and 0 <= value <= _LARGEST_COUNT


def _check_ranges(ranges: list[tuple[int, int, str]], size: int) -> None:
    """The arrays' bytes must follow each other without holes, and fill the file."""
    expected = 0
    for start, end, name in sorted(ranges):
        if start != expected:
            raise ValueError(f"{name} starts at byte {start} of the data, not at {expected}")
        expected = end
    if expected != size:
        raise ValueError(f"its arrays have {expected} bytes, the file has {size} for them")
