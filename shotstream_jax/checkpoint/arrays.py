"""Stored arrays: one zarr array each in a folder, or many in one `.safetensors` file.

Both kinds are read through one interface, `StoredArray`, which knows an array's shape and type and
reads a slice of it without the rest. So each device reads only its own slice of a sharded
parameter.

Zarr arrays lie in chunks of at most 64 MB with checksums, and two layers of a stacked parameter
never share a chunk, so a converter can write layer by layer. A `.safetensors` file is one file for
a whole part of a model and has no checksums.
"""

import dataclasses
import errno
import json
import math
import pathlib
import re
import struct
from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import jax
import ml_dtypes
import numpy as np
from jax.sharding import Sharding, SingleDeviceSharding

from shotstream_jax.checkpoint.header import FILE_TYPES, read_header, unreadable
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import read_at
from shotstream_jax.core.typing import DType

if TYPE_CHECKING:
    import tensorstore as ts

Index = int | slice | tuple[int | slice, ...] | EllipsisType

_CHUNK_BYTES = 64 * 2**20

_TYPE_NAMES = {dtype: name for name, dtype in FILE_TYPES.items()}


class ArraySpec(NamedTuple):
    """The shape and type of an array that is not there yet."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class StoredArray:
    """An array on disk, not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, index: Index = ...) -> np.ndarray:
        """The array, or a slice of it, in memory. Raises InputError if it is damaged."""
        raise NotImplementedError


def place_array(stored: StoredArray, dtype: DType, sharding: Sharding | None = None) -> jax.Array:
    """A stored array on its devices, in another type.

    Each device's slice is read and converted by itself. Without a sharding the first device gets
    the array.
    """
    if sharding is None:
        sharding = SingleDeviceSharding(jax.devices()[0])

    def read_piece(index: tuple[slice, ...] | None) -> np.ndarray:
        """One device's slice, in the type that it gets there."""
        # None stands for the whole array.
        if index is None:
            piece = stored.read()
        else:
            piece = stored.read(index)
        return piece.astype(dtype, copy=False)

    return jax.make_array_from_callback(stored.shape, sharding, read_piece)


# Zarr arrays in a folder.


@dataclasses.dataclass(frozen=True, eq=False)
class ZarrArray(StoredArray):
    """A zarr array; it can be written in slices too."""

    place: pathlib.Path
    store: "ts.TensorStore"

    def read(self, index: Index = ...) -> np.ndarray:
        """The array, or a slice of it, in memory. Raises InputError if it is damaged."""
        try:
            return np.asarray(self.store[index].read().result())
        except ValueError as error:
            raise InputError(
                f"{self.place} is damaged: convert it again ({_short(error)})"
            ) from None

    def write(self, array: np.ndarray, index: Index = ...) -> None:
        """Fills the array, or a slice of it. Raises OSError if the disk refuses it."""
        try:
            self.store[index].write(array).result()
        except ValueError as error:  # tensorstore's own error for a full or broken disk
            raise OSError(errno.EIO, _short(error)) from None


def create_array(
    folder: pathlib.Path, name: str, shape: Sequence[int], dtype: np.dtype, *, stacked: bool
) -> ZarrArray:
    """A new zarr array `folder/name`, to be written in slices. Raises OSError.

    stacked: its first axis counts layers, each of which gets chunks of its own.
    """
    import tensorstore as ts

    # What the new array's zarr.json says: its chunks, and how they are encoded.
    grid = {"chunk_shape": chunk_shape(shape, dtype.itemsize, stacked)}
    # Values as they are in memory, and a checksum after each chunk.
    codecs = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "crc32c"},
    ]
    metadata = {
        "chunk_grid": {"name": "regular", "configuration": grid},
        "codecs": codecs,
    }
    spec = _zarr_spec(folder, name) | {"metadata": metadata}
    try:
        opening = ts.open(
            spec,
            create=True,
            shape=tuple(shape),
            dtype=ts.dtype(dtype),
        )
        store = opening.result()
    except ValueError as error:
        raise OSError(errno.EIO, _short(error)) from None
    return ZarrArray(tuple(shape), dtype, folder / name, store)


def open_array(folder: pathlib.Path, name: str) -> ZarrArray:
    """The zarr array `folder/name`. Raises InputError if it is missing or not readable."""
    import tensorstore as ts

    try:
        store = ts.open(_zarr_spec(folder, name), open=True).result()
    except ValueError as error:
        raise InputError(
            f"{folder} lacks {name}, or it is damaged: convert it again ({_short(error)})"
        ) from None
    # numpy's bfloat16 is that of ml_dtypes, which tensorstore does not name.
    if store.dtype.name == "bfloat16":
        dtype = np.dtype(ml_dtypes.bfloat16)
    else:
        dtype = np.dtype(store.dtype.numpy_dtype)
    return ZarrArray(tuple(store.shape), dtype, folder / name, store)


def chunk_shape(shape: Sequence[int], itemsize: int, stacked: bool) -> list[int]:
    """Chunks of whole rows, of as many leading entries as fit in 64 MB.

    stacked: the first axis counts layers, each of which has chunks of its own.
    """
    # Starts as one chunk for all, or for one layer.
    chunk = list(shape)
    first_axis = 0
    if stacked:
        chunk[0] = 1
        first_axis = 1
    # From the first axis on, each is cut into lengths of 1 until what is left fits.
    for axis in range(first_axis, len(chunk)):
        # Bytes of one entry along this axis, and how many such entries fit in a chunk.
        entry_size = int(np.prod(chunk)) // max(chunk[axis], 1)
        entry_bytes = entry_size * itemsize
        fitting = max(1, _CHUNK_BYTES // max(entry_bytes, 1))
        # Chunks of equal length, since a short last chunk would be padded on disk.
        chunk_count = max(math.ceil(chunk[axis] / fitting), 1)
        chunk[axis] = math.ceil(chunk[axis] / chunk_count)
        if chunk[axis] > 1:
            break
    # An empty axis still needs a chunk of length 1.
    return [max(length, 1) for length in chunk]


def _zarr_spec(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """A missing chunk is an error rather than zeros, so chunks of zeros are stored as well."""
    place = folder.absolute() / name
    return {
        "driver": "zarr3",
        "kvstore": {
            "driver": "file",
            "path": str(place),
        },
        "fill_missing_data_reads": False,
        "store_data_equal_to_fill_value": True,
    }


def _short(error: ValueError) -> str:
    """The end of tensorstore's long message, on one line, without its notes for developers."""
    # Notes look like [source locations='…'] and [os_error_code='…'].
    message = re.sub(r"\[[\w ]+='.*?'\]", "", str(error), flags=re.DOTALL)
    words = message.split()
    return " ".join(words)[-160:]


# Arrays in a .safetensors file.


@dataclasses.dataclass(frozen=True, eq=False)
class FileArray(StoredArray):
    """An array in a `.safetensors` file, whose header has been checked (checkpoint/header).

    The file is opened anew for each read: a mapping that stays open would keep every page that it
    has touched in memory.
    """

    file: pathlib.Path
    start: int  # of its bytes in the file

    def read(self, index: Index = ...) -> np.ndarray:
        """The array, or a slice of it, in memory. Raises InputError if it is damaged."""
        try:
            # A whole array is read, of a slice only the pages that it lies in.
            if index is ... or not math.prod(self.shape):
                nbytes = math.prod(self.shape) * self.dtype.itemsize
                flat = read_at(self.file, self.start, nbytes).view(self.dtype)
                return flat.reshape(self.shape)[index]
            mapped = np.memmap(self.file, self.dtype, "r", self.start, self.shape)
            return np.array(mapped[index])
        except (ValueError, OSError) as error:
            raise unreadable(self.file, error) from None


def open_file_arrays(path: pathlib.Path) -> dict[str, FileArray]:
    """The arrays of a `.safetensors` file by name, not read yet.

    Raises InputError if the file is missing or damaged, or has types that are not read.
    """
    arrays = {}
    for name, place in read_header(path).arrays.items():
        arrays[name] = FileArray(place.shape, place.dtype, path, place.start)
    return arrays


class FileWriter:
    """Writes a `.safetensors` file in slices, in any order. Use it in a `with` statement.

    The format: the header's length (8 bytes, little-endian), the header as JSON, the arrays' bytes
    one after another.
    """

    def __init__(
        self,
        path: pathlib.Path,
        specs: Mapping[str, ArraySpec],
        texts: Mapping[str, str] | None = None,
    ):
        """Writes the header. texts: by name, what it says beside the arrays.

        Raises InputError for a type that the format cannot hold, and OSError if the file cannot be
        written.
        """
        # Checked before the file is made.
        unknown = []
        for name, spec in specs.items():
            if spec.dtype not in _TYPE_NAMES:
                unknown.append(f"{name} {spec.dtype}")
        if unknown:
            raise InputError(
                f"{path} can hold {', '.join(FILE_TYPES)} only, not {', '.join(unknown[:10])}"
            )
        self._specs = specs
        self._written = 0

        # Where each array's bytes lie, counted from the end of the header.
        self._starts: dict[str, int] = {}
        header: dict[str, Any] = {}
        if texts:
            header["__metadata__"] = dict(texts)
        end = 0
        for name, spec in specs.items():
            start = end
            end = start + spec.nbytes
            self._starts[name] = start
            header[name] = {
                "dtype": _TYPE_NAMES[spec.dtype],
                "shape": list(spec.shape),
                "data_offsets": [start, end],
            }
        self._total = end

        # The header needs all places, so it is written as soon as they are known.
        text = json.dumps(header).encode()
        # Padded with blanks, so that the arrays start at a multiple of 8.
        text += b" " * (-len(text) % 8)
        self._data_start = 8 + len(text)
        self._file: BinaryIO = path.open("wb")
        self._file.write(struct.pack("<Q", len(text)))
        self._file.write(text)

    def write(self, name: str, array: np.ndarray, layer: int | None = None) -> None:
        """Writes an array, or one layer of a stacked array. Raises OSError."""
        spec = self._specs[name]
        shape = spec.shape
        # A layer of a stacked array [layers, …].
        if layer is not None:
            shape = shape[1:]
        if array.shape != shape or array.dtype != spec.dtype:
            raise ValueError(f"{name} is {array.dtype}{array.shape} for {spec.dtype}{shape}")
        # Layers lie one after another, since they are the first axis.
        offset = self._data_start + self._starts[name]
        if layer is not None:
            offset += layer * array.nbytes
        self._file.seek(offset)
        # As plain bytes, since bfloat16 has no buffer format of its own.
        flat = np.ascontiguousarray(array).reshape(-1)
        self._file.write(flat.view(np.uint8).data)
        self._written += array.nbytes

    def __enter__(self) -> "FileWriter":
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        # A part that was never written would be read as zeros.
        if failure is None and self._written != self._total:
            raise ValueError(f"{self._written} of {self._total} bytes were written")
