"""GGUF files: a header of facts and arrays (gguf_header), then the arrays' bytes.

Shapes are stored with the fastest axis first and have at most four axes; the original shape of an
array that had more stands among the facts. F32, F16 and BF16 are read as they are. Quantised arrays
become float32, by the `gguf` package's own arithmetic, when they are used.
"""

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from shotstream_jax.convert.gguf_header import GgufArray, GgufHeader, read_gguf_header
from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import read_at

# GGUF's numbers of the types that are read as they are.
_PLAIN = {
    0: np.dtype(np.float32),
    1: np.dtype(np.float16),
    24: np.dtype(np.int8),
    25: np.dtype(np.int16),
    26: np.dtype(np.int32),
    27: np.dtype(np.int64),
    28: np.dtype(np.float64),
    30: np.dtype(ml_dtypes.bfloat16),
}
_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_PATCHES = "patch_embedding.weight"
_PIECE = 2**22  # values that are dequantised at once


class GgufFile(NamedTuple):
    """A file's arrays, not read yet, its facts, and the names of its arrays' types."""

    state: State
    facts: Mapping[str, Any]
    types: Mapping[str, str]


class _Kind(NamedTuple):
    """A quantised type: its name, and a block's values and bytes."""

    name: str
    block: int
    block_bytes: int
    dequantize: Callable[[np.ndarray], np.ndarray]


def read_gguf(path: str | pathlib.Path) -> GgufFile:
    """A `.gguf` file.

    Raises InputError if it is missing or damaged, has a type that is not read, or has quantised
    arrays and the package `gguf` is not there.
    """
    path = pathlib.Path(path)
    header = read_gguf_header(path)
    kinds: dict[int, _Kind] = {}
    state = {}
    types = {}
    for name, array in header.arrays.items():
        shape = _shape(path, header, name, array)
        # Plain floats are read without the package.
        if array.type in _PLAIN:
            dtype = _PLAIN[array.type]
            _check_place(path, header, name, array, math.prod(array.shape) * dtype.itemsize)
            state[name] = _plain(path, header.data_start + array.offset, dtype, shape)
            types[name] = dtype.name
            continue
        # Blocks of small numbers are widened by it when they are read.
        if array.type not in kinds:
            kinds[array.type] = _find_kind(path, name, array.type)
        kind = kinds[array.type]
        nbytes = _blocks(path, name, array, kind) * kind.block_bytes
        _check_place(path, header, name, array, nbytes)
        state[name] = _quantized(path, header.data_start + array.offset, nbytes, kind, shape)
        types[name] = kind.name
    return GgufFile(state, header.facts, types)


def _shape(path: pathlib.Path, header: GgufHeader, name: str, array: GgufArray) -> tuple[int, ...]:
    """An array's own shape."""
    original = header.facts.get(_ORIGINAL_SHAPE + name)
    if original is None:
        shape = array.shape
        # A convolution over [time, y, x] whose single step in time is left out.
        if name.endswith(_PATCHES) and len(shape) == 4:
            shape = (*shape[:2], 1, *shape[2:])
        return shape
    if not isinstance(original, list) or not all(type(n) is int and n >= 0 for n in original):
        raise InputError(f"{path} has no shape in {_ORIGINAL_SHAPE}{name}: {original!r:.60}")
    if math.prod(original) != math.prod(array.shape):
        raise InputError(
            f"{path} says that {name} has the shape {original}, it has {list(array.shape)}: "
            "the file is damaged, fetch it again"
        )
    return tuple(original)


def _check_place(
    path: pathlib.Path, header: GgufHeader, name: str, array: GgufArray, nbytes: int
) -> None:
    if header.data_start + array.offset + nbytes > header.size:
        raise InputError(f"{path} is truncated at {name}: fetch it again")


def _blocks(path: pathlib.Path, name: str, array: GgufArray, kind: _Kind) -> int:
    """How many blocks an array has: they never reach over the end of a row."""
    row = array.shape[-1] if array.shape else 1
    if row % kind.block:
        raise InputError(
            f"{path} has rows of {row} values in {name}, {kind.name} has blocks of {kind.block}: "
            "the file is damaged, fetch it again"
        )
    return math.prod(array.shape) // kind.block


def _find_kind(path: pathlib.Path, name: str, number: int) -> _Kind:
    """A quantised type by GGUF's number of it; it must be one that the package can read."""
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
        from gguf.quants import dequantize
    except ImportError:
        raise InputError(
            f"{path} is quantised ({name}): reading it needs the package gguf, "
            "pip install 'shotstream-jax[gguf]'"
        ) from None
    try:
        kind = GGMLQuantizationType(number)
        block, block_bytes = GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError):
        raise InputError(
            f"{path} has the unknown type {number} in {name}: is gguf too old?"
        ) from None

    def dequantize_blocks(blocks: np.ndarray) -> np.ndarray:
        """[rows, bytes of blocks] → [rows, values]"""
        # Scales that are not finite are named with the weights (stored.py), without a warning.
        with np.errstate(all="ignore"):
            return dequantize(blocks, kind)

    # Its own table of what it can read is not public: a block of zeros shows it.
    try:
        dequantize_blocks(np.zeros((1, block_bytes), np.uint8))
    except NotImplementedError:
        raise InputError(
            f"{path} has the type {kind.name} in {name}, which the package gguf does not read: "
            "take a file in Q8_0, Q6_K, Q5_K, Q4_K, BF16 or F16"
        ) from None
    return _Kind(kind.name, block, block_bytes, dequantize_blocks)


def _plain(path: pathlib.Path, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> Lazy:
    """An array whose values are stored as they are."""

    def read() -> np.ndarray:
        """The array in memory."""
        nbytes = math.prod(shape) * dtype.itemsize
        return _read_bytes(path, start, nbytes).view(dtype).reshape(shape)

    return Lazy(shape, dtype, read)


def _quantized(
    path: pathlib.Path, start: int, nbytes: int, kind: _Kind, shape: tuple[int, ...]
) -> Lazy:
    """A quantised array, in float32."""

    def read() -> np.ndarray:
        """The array in memory, from one piece of its blocks after another."""
        values = np.empty(math.prod(shape), np.float32)
        blocks = nbytes // kind.block_bytes
        at_once = _PIECE // kind.block
        for first in range(0, blocks, at_once):
            count = min(at_once, blocks - first)
            place = start + first * kind.block_bytes
            data = _read_bytes(path, place, count * kind.block_bytes)
            piece = values[first * kind.block : (first + count) * kind.block]
            # As one row: the package goes through rows by a few at a time.
            piece[:] = kind.dequantize(data.reshape(1, -1)).reshape(-1)
        return values.reshape(shape)

    return Lazy(shape, np.dtype(np.float32), read)


def _read_bytes(path: pathlib.Path, start: int, nbytes: int) -> np.ndarray:
    """Some bytes of a file. Raises InputError if they are not there any more."""
    try:
        return read_at(path, start, nbytes)
    except OSError as error:
        raise InputError(f"{path} cannot be read any more: {error}") from None
