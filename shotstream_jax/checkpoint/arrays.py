"""Native storage of parameters: a folder with one tensorstore (zarr) array a parameter.

Arrays lie in chunks of at most 64 MB, a stacked layer never shares one with another. So a converter can write layer by
layer, and a device reads only what its slice of a sharded parameter needs.
"""

import errno
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np
import tensorstore as ts
from jax.sharding import Sharding

from shotstream_jax.core.errors import InputError

_CHUNK_BYTES = 64 * 2**20


def _spec(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """A chunk that is missing is an error, not zeros; so chunks of zeros are stored as well."""
    return {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(folder.absolute() / name)},
        "fill_missing_data_reads": False,
        "store_data_equal_to_fill_value": True,
    }


def chunk_shape(shape: Sequence[int], itemsize: int, stacked: bool) -> list[int]:
    """Whole rows of as many leading entries as fit; a stacked layer has chunks of its own."""
    chunk = list(shape)
    if stacked:
        chunk[0] = 1
    for axis in range(int(stacked), len(chunk)):
        rest = int(np.prod(chunk)) // max(chunk[axis], 1) * itemsize
        most = max(1, _CHUNK_BYTES // max(rest, 1))
        pieces = -(-chunk[axis] // most)
        chunk[axis] = -(
            -chunk[axis] // max(pieces, 1)
        )  # of equal length: a last short one would be padded
        if chunk[axis] > 1:
            break
    return [max(n, 1) for n in chunk]


def create_array(
    folder: pathlib.Path, name: str, shape: Sequence[int], dtype: np.dtype, *, stacked: bool
) -> ts.TensorStore:
    """A new array, to be written in slices."""
    grid = {"chunk_shape": chunk_shape(shape, dtype.itemsize, stacked)}
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    metadata = {"chunk_grid": {"name": "regular", "configuration": grid}, "codecs": codecs}
    spec = _spec(folder, name) | {"metadata": metadata}
    try:
        return ts.open(spec, create=True, shape=tuple(shape), dtype=ts.dtype(dtype)).result()
    except ValueError as error:
        raise OSError(errno.EIO, _short(error)) from None


def write_slice(store: ts.TensorStore, array: np.ndarray) -> None:
    """Fills a store or a slice of one. Raises OSError where the disk refuses it (tensorstore has its own words)."""
    try:
        store.write(array).result()
    except ValueError as error:
        raise OSError(errno.EIO, _short(error)) from None


def open_array(folder: pathlib.Path, name: str) -> ts.TensorStore:
    """An array that is there; InputError if it is not, or not readable."""
    try:
        return ts.open(_spec(folder, name), open=True).result()
    except ValueError as error:
        raise InputError(
            f"{folder} lacks {name}, or it is damaged: convert it again ({_short(error)})"
        ) from None


def read_slice(store: ts.TensorStore) -> np.ndarray:
    """A store, or a slice of one, in memory. Raises InputError if it is damaged."""
    try:
        return np.asarray(store.read().result())
    except ValueError as error:
        raise InputError(
            f"{store.kvstore.path} is damaged: convert it again ({_short(error)})"
        ) from None


def read_array(
    store: ts.TensorStore, dtype: np.dtype, sharding: Sharding | None = None
) -> jax.Array:
    """The array on its devices in another type; each device's slice is read and converted by itself."""
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    piece = lambda index: read_slice(store[index]).astype(dtype, copy=False)  # noqa: E731
    return jax.make_array_from_callback(store.shape, sharding, piece)


def dtype_of(store: ts.TensorStore) -> np.dtype:
    return (
        np.dtype(ml_dtypes.bfloat16)
        if store.dtype.name == "bfloat16"
        else np.dtype(store.dtype.numpy_dtype)
    )


def _short(error: ValueError) -> str:
    return " ".join(str(error).split())[-160:]
