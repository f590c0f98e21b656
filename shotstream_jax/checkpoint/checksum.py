"""Checksums of a checkpoint's parts: which autoencoder or text encoder made a data set.

A checksum is of the parameters' values, not of how they are stored: float16, bfloat16 and float32
parts with the same values have the same one, in whatever storage.

    sha256(for every parameter, in path order: "path shape\\n", its values as float32)
"""

import hashlib

import numpy as np

from shotstream_jax.checkpoint.arrays import StoredArray
from shotstream_jax.checkpoint.checkpoint import Checkpoint

_PIECE_BYTES = 64 * 2**20  # of float32 values that are in memory at a time


def part_checksum(checkpoint: Checkpoint, part: str) -> str:
    """The checksum of a stored part ("dit", "vae" or "text"), as 64 hexadecimal digits.

    The part is read piece by piece, so that no large array is in memory as a whole.
    Raises InputError if the checkpoint lacks the part, or if it is damaged.
    """
    arrays = {}
    for path, array in checkpoint.stored_arrays(part).items():
        arrays["/".join(path)] = array
    digest = hashlib.sha256()
    for name in sorted(arrays):
        _add(digest, name, arrays[name])
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", name: str, array: StoredArray) -> None:
    """Adds one parameter."""
    digest.update(f"{name} {list(array.shape)}\n".encode())
    # As many rows at a time as fit into a piece.
    row_bytes = 4 * int(np.prod(array.shape[1:]))
    rows = max(1, _PIECE_BYTES // max(row_bytes, 1))
    for first in range(0, array.shape[0], rows):
        piece = array.read(slice(first, min(first + rows, array.shape[0])))
        digest.update(np.ascontiguousarray(piece, "<f4").tobytes())
