"""Between stored parts and public state dicts, with one public array in memory at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import flax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.checkpoint.arrays import ArraySpec, Index, StoredArray
from shotstream_jax.checkpoint.parts import ParamPath, PartToWrite, Piece
from shotstream_jax.convert.names import (
    Entry,
    Lazy,
    State,
    Table,
    check_table,
    our_layout,
    public_layout,
)
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import Params

_CHECKED_AT_ONCE = 2**22  # values
_MOST_NAMED = 3


def part_of_state(
    table: Table, abstract: Params, state: State, source: Path | None = None
) -> PartToWrite:
    """A public state dict as a part to be stored, in its own types.

    state: its keys have been checked (`check_keys`). abstract: the shapes of our parameters.
    Layers of one parameter that have several types get one that holds them all exactly. source: the
    file of the state dict. Raises InputError for weights that are not floats, and, while the pieces
    are read, for values that are not finite.
    """
    shapes = flax.traverse_util.flatten_dict(abstract)
    check_table(table, shapes)
    dtypes = _param_dtypes(table, state)
    specs = {}
    for path, leaf in shapes.items():
        specs[path] = ArraySpec(leaf.shape, dtypes[path])

    def pieces() -> Iterator[Piece]:
        """Public arrays in the order of the table, each read when it is its turn."""
        for number, entry in enumerate(table.entries):
            shape = specs[entry.path].shape
            # A layer of a stacked parameter [layers, …].
            if entry.layer is not None:
                shape = shape[1:]
            array = np.asarray(state[entry.public])
            if not is_finite(array):
                raise _not_finite(table.entries[number:], state, source)
            array = array.astype(specs[entry.path].dtype, copy=False)
            ours = our_layout(entry, array, shape)
            yield Piece(entry.path, entry.layer, ours)

    return PartToWrite(specs, pieces, source)


def is_finite(array: np.ndarray) -> bool:
    """Whether no value is nan or infinite."""
    # In pieces: the answers of a large table would take half of its own memory.
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHECKED_AT_ONCE):
        if not np.isfinite(flat[start : start + _CHECKED_AT_ONCE]).all():
            return False
    return True


def _not_finite(entries: Sequence[Entry], state: State, source: Path | None) -> InputError:
    """The error for weights that are not finite, with the names of the first few."""
    names: list[str] = []
    for entry in entries:
        if len(names) < _MOST_NAMED and not is_finite(np.asarray(state[entry.public])):
            names.append(entry.public)
    file = f"{source}: " if source else ""
    return InputError(
        f"{file}values that are not finite (nan or inf) in {', '.join(names)}: "
        "the file is damaged, or was once cast to a type that is too small for them"
    )


def _param_dtypes(table: Table, state: State) -> dict[ParamPath, np.dtype]:
    """Each parameter's type: that of its layers, or one that holds all of theirs exactly."""
    dtypes: dict[ParamPath, np.dtype] = {}
    for entry in table.entries:
        dtype = np.dtype(state[entry.public].dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(f"{entry.public} is {dtype}, weights must be floats")
        earlier = dtypes.setdefault(entry.path, dtype)
        dtypes[entry.path] = _common_type(earlier, dtype)
    return dtypes


def _common_type(a: np.dtype, b: np.dtype) -> np.dtype:
    """The type itself if both are equal; else float32, or float64 if one of them is that."""
    if a == b:
        return a
    # By way of float32: bfloat16 and float16 have no common type for numpy.
    return np.promote_types(np.promote_types(a, np.float32), b)


def state_of_part(table: Table, arrays: Mapping[ParamPath, StoredArray]) -> State:
    """A stored part as a public state dict, not read yet."""
    state = {}
    for entry in table.entries:
        state[entry.public] = _public_array(entry, arrays[entry.path])
    return state


def _public_array(entry: Entry, stored: StoredArray) -> Lazy:
    # The whole parameter, or one of its layers.
    index: Index = ...
    if entry.layer is not None:
        index = entry.layer

    def read() -> np.ndarray:
        """The stored array, or its layer, as the public file has it."""
        return public_layout(entry, stored.read(index))

    return Lazy(entry.shape, stored.dtype, read)
