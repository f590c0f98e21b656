"""Stored parts under their public names, and public weights as parts to be stored. One public array is in memory at a time."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.checkpoint.arrays import Layout, StoredArray
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
    """A public state dict, whose keys have been checked, as a part to be stored; its types are kept.

    abstract: the shapes of our parameters. source: the file of the state dict.
    Raises InputError for weights that are not floats, or whose types differ between the layers of a parameter.
    """
    shapes = flax.traverse_util.flatten_dict(abstract)
    check_table(table, shapes)
    dtypes = _param_dtypes(table, state)
    layouts = {path: Layout(leaf.shape, dtypes[path]) for path, leaf in shapes.items()}

    def pieces() -> Iterator[Piece]:
        for entry in table.entries:
            shape = layouts[entry.path].shape
            if entry.layer is not None:
                shape = shape[1:]
            array = np.asarray(state[entry.public])
            yield Piece(entry.path, entry.layer, our_layout(entry, array, shape))

    return PartToWrite(layouts, pieces, source)


def _param_dtypes(table: Table, state: State) -> dict[ParamPath, np.dtype]:
    """Each parameter's type; the layers of one parameter must have the same."""
    dtypes: dict[ParamPath, np.dtype] = {}
    for entry in table.entries:
        dtype = np.dtype(state[entry.public].dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise InputError(f"{entry.public} is {dtype}, weights must be floats")
        expected = dtypes.setdefault(entry.path, dtype)
        if dtype != expected:
            raise InputError(
                f"{entry.public} is {dtype}, the same weight of another layer is {expected}: "
                "cast them to one type"
            )
    return dtypes


def state_of_part(table: Table, arrays: Mapping[ParamPath, StoredArray]) -> State:
    """A stored part as a public state dict, not read yet."""
    return {entry.public: _public_array(entry, arrays[entry.path]) for entry in table.entries}


def _public_array(entry: Entry, stored: StoredArray) -> Lazy:
    index: Any = ... if entry.layer is None else entry.layer

    def read() -> np.ndarray:
        return public_layout(entry, stored.read(index))

    return Lazy(entry.shape, stored.dtype, read)
