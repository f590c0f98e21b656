"""Checksums of a checkpoint's parts: which autoencoder or text encoder made a data set.

A checksum is of the parameters' values, not of how they are stored: float16, bfloat16 and float32
folders with the same values have the same one, and so has a copy of a folder in other chunks.

    sha256( for every parameter, in path order:  "path shape\\n", its values as float32, row by row )
"""

import functools
import hashlib
import pathlib
from collections.abc import Callable

import flax
import numpy as np
import tensorstore as ts

from shotstream_jax.checkpoint.arrays import open_array, read_slice
from shotstream_jax.checkpoint.load import part_folder, preset_of
from shotstream_jax.core.typing import AnyArray
from shotstream_jax.model import Params, abstract_params

_PIECE_BYTES = 64 * 2**20  # of float32 values that are in memory at a time


def part_checksum(checkpoint: str | pathlib.Path, part: str) -> str:
    """The checksum of a stored part ("dit", "vae" or "text"), as 64 hexadecimal digits.

    The part is read piece by piece, so that no large array is in memory as a whole.
    Raises InputError if the checkpoint lacks the part, or if it is damaged.
    """
    folder = part_folder(checkpoint, part) / part
    paths = _by_path(abstract_params(preset_of(checkpoint), part))
    digest = hashlib.sha256()
    for path in sorted(paths):
        store = open_array(folder, path)
        _add(digest, path, tuple(store.shape), functools.partial(_read_rows, store))
    return digest.hexdigest()


def params_checksum(params: Params) -> str:
    """The checksum of parameters in memory, equal to that of their stored part.

    They must have their stored values: weights that were rounded to another type differ from it.
    """
    arrays = _by_path(params)
    digest = hashlib.sha256()
    for path in sorted(arrays):
        array = np.asarray(arrays[path])
        _add(digest, path, array.shape, array.__getitem__)
    return digest.hexdigest()


def _by_path(params: Params) -> dict[str, AnyArray]:
    """A tree's leaves by their paths, like "blocks/q/kernel"."""
    return flax.traverse_util.flatten_dict(params, sep="/")


def _read_rows(store: ts.TensorStore, rows: slice) -> np.ndarray:
    return read_slice(store[rows])


def _add(
    digest: "hashlib._Hash",
    path: str,
    shape: tuple[int, ...],
    read: Callable[[slice], np.ndarray],
) -> None:
    """Adds one parameter. read: gives a range of its leading axis."""
    digest.update(f"{path} {list(shape)}\n".encode())
    # As many rows at a time as fit into a piece.
    row_bytes = 4 * int(np.prod(shape[1:]))
    rows = max(1, _PIECE_BYTES // max(row_bytes, 1))
    for first in range(0, shape[0], rows):
        piece = read(slice(first, min(first + rows, shape[0])))
        digest.update(np.ascontiguousarray(piece, "<f4").tobytes())
