"""Between stored parts and public state dicts, with one public array in memory at a time."""

from collections.abc import Iterator, Mapping
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


def part_of_state(
    table: Table, abstract: Params, state: State, source: Path | None = None
) -> PartToWrite:
    """A public state dict as a part to be stored, in its own types.

    state: its keys have been checked (`check_keys`). abstract: the shapes of our parameters.
    source: the file of the state dict. Raises InputError for weights that are not floats, or whose
    types differ between the layers of a parameter.
    """
    shapes = flax.traverse_util.flatten_dict(abstract)
    check_table(table, shapes)
    dtypes = _param_dtypes(table, state)
    specs = {}
    for path, leaf in shapes.items():
        specs[path] = ArraySpec(leaf.shape, dtypes[path])

    def pieces() -> Iterator[Piece]:
        """Public arrays in the order of the table, each read when it is its turn."""
        for entry in table.entries:
            shape = specs[entry.path].shape
            # A layer of a stacked parameter [layers, …].
            if entry.layer is not None:
                shape = shape[1:]
            array = np.asarray(state[entry.public])
            ours = our_layout(entry, array, shape)
            yield Piece(entry.path, entry.layer, ours)

    return PartToWrite(specs, pieces, source)


def _param_dtypes(table: Table, state: State) -> dict[ParamPath, np.dtype]:
    """Each parameter's type; the layers of one parameter must have the same."""
    dtypes: dict[ParamPath, np.dtype] = {}
    for entry in table.entries:
        dtype = np.dtype(state[entry.public].dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(f"{entry.public} is {dtype}, weights must be floats")
        # The first layer decides.
        expected = dtypes.setdefault(entry.path, dtype)
        if dtype != expected:
            raise InputError(
                f"{entry.public} is {dtype}, the same weight of another layer is {expected}: "
                "cast them to one type"
            )
    return dtypes


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
