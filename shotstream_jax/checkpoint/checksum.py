"""Checksums of a checkpoint's parts: which encoders made a data set, which model a story.

A checksum is of the parameters' values, not of how they are stored: float16, bfloat16 and float32
parts with the same values have the same one, in whatever storage.

    sha256(for every parameter, in path order: "path shape\\n", its values as float32)

A fingerprint is the same of a few values of every parameter, so that it costs nothing beside
loading a model.
"""

import hashlib

import numpy as np

from shotstream_jax.checkpoint.arrays import StoredArray
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.model import PARTS

_SAMPLED = 64  # values of a parameter in a fingerprint
_PIECE_BYTES = 64 * 2**20  # of float32 values that are in memory at a time


def part_checksum(checkpoint: Checkpoint, part: str) -> str:
    """The checksum of a stored part ("dit", "vae" or "text"), as 64 hexadecimal digits.

    The part is read piece by piece, so that no large array is in memory as a whole.
    Raises InputError if the checkpoint lacks the part, or if it is damaged.
    """
    digest = hashlib.sha256()
    for name, array in _by_name(checkpoint, part):
        _add(digest, name, array)
    return digest.hexdigest()


def fingerprint(checkpoint: Checkpoint) -> str:
    """16 hexadecimal digits that tell a model from others: its weights, and how it streams.

    Merging an adapter, training on or another shot phase change it; another storage does not.
    Raises InputError if the checkpoint lacks a part, or if it is damaged.
    """
    preset = checkpoint.preset
    memory = preset.memory
    # What changes a story beside the weights. The text of these lines must stay.
    settings = (
        f"shot_phase {preset.dit.shot_phase}",
        f"chunk {memory.chunk} window {memory.window} sinks {memory.sinks}",
        f"steps {list(preset.steps.nominal)} shift {preset.steps.shift}",
        f"latents {list(preset.vae.mean)} {list(preset.vae.std)}",
    )
    digest = hashlib.sha256("\n".join(settings).encode())
    for part in PARTS:
        for name, array in _by_name(checkpoint, part):
            digest.update(f"{part} {name} {list(array.shape)}\n".encode())
            digest.update(np.ascontiguousarray(_sample(array), "<f4").tobytes())
    return digest.hexdigest()[:16]


def _by_name(checkpoint: Checkpoint, part: str) -> list[tuple[str, StoredArray]]:
    """A part's parameters, not read yet, in the order of their paths."""
    arrays = {}
    for path, array in checkpoint.stored_arrays(part).items():
        arrays["/".join(path)] = array
    return sorted(arrays.items())


def _sample(array: StoredArray) -> np.ndarray:
    """Neighbours in the middle of a parameter: of the last axis, of one place along the others."""
    if 0 in array.shape or not array.shape:
        return array.read()
    *others, last = array.shape
    first = max(0, last // 2 - _SAMPLED // 2)
    middle = [length // 2 for length in others]
    return array.read((*middle, slice(first, min(first + _SAMPLED, last))))


def _add(digest: "hashlib._Hash", name: str, array: StoredArray) -> None:
    """Adds one parameter."""
    digest.update(f"{name} {list(array.shape)}\n".encode())
    # As many rows at a time as fit into a piece.
    row_bytes = 4 * int(np.prod(array.shape[1:]))
    rows = max(1, _PIECE_BYTES // max(row_bytes, 1))
    for first in range(0, array.shape[0], rows):
        piece = array.read(slice(first, min(first + rows, array.shape[0])))
        digest.update(np.ascontiguousarray(piece, "<f4").tobytes())
