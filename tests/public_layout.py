"""Whole parts in memory from and to public state dicts; the package does it piece by piece."""

import pathlib

import flax
import numpy as np

from shotstream_jax.convert.lora.adapter import read_adapter
from shotstream_jax.convert.lora.changes import LowRank
from shotstream_jax.convert.names import (
    LINEAR,
    State,
    Table,
    check_keys,
    check_table,
    public_layout,
)
from shotstream_jax.convert.stored import part_of_state
from shotstream_jax.convert.tables import dit_table
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.dit.lora import abstract_lora
from shotstream_jax.model import Params, abstract_params
from shotstream_jax.presets import Preset


def from_public(table: Table, abstract: Params, state: State) -> Params:
    """A public state dict → our tree of numpy arrays, in the types of `abstract`."""
    check_keys(table, state)
    shapes = flax.traverse_util.flatten_dict(abstract)
    params = {path: np.empty(leaf.shape, leaf.dtype) for path, leaf in shapes.items()}
    for path, layer, array in part_of_state(table, abstract, state).pieces():
        if layer is None:
            params[path][...] = array
        else:
            params[path][layer] = array
    return flax.traverse_util.unflatten_dict(params)


def to_public(table: Table, params: Params) -> dict[str, np.ndarray]:
    """Our tree → the public state dict. The inverse of from_public, bit for bit."""
    flat = flax.traverse_util.flatten_dict(params)
    check_table(table, flat)
    state = {}
    for entry in table.entries:
        array = np.asarray(flat[entry.path])
        if entry.layer is not None:
            array = array[entry.layer]
        state[entry.public] = public_layout(entry, array)
    return state


def read_lora(
    path: pathlib.Path, preset: Preset, key: str = "generator_lora", *, rank: int
) -> Params:
    """An adapter tree (dit/lora) from a file with PEFT's names; refuses one of another rank."""
    adapter = read_adapter(path, dit_table(preset.dit).shapes(), key=key, rank=rank)
    named = {}
    for name, (change,) in adapter.changes.items():
        assert isinstance(change, LowRank)
        layer = "base_model.model." + name.removesuffix(".weight")
        named[f"{layer}.lora_A.weight"] = change.down
        named[f"{layer}.lora_B.weight"] = change.up
    abstract = abstract_lora(abstract_params(preset, "dit"), rank)
    return from_public(lora_table(preset.dit, rank), abstract, named)


def lora_table(cfg: DiTConfig, rank: int) -> Table:
    """An adapter on every Linear of the blocks, with PEFT's names."""
    table = Table()
    for entry in dit_table(cfg).entries:
        if entry.path[0] != "blocks" or entry.path[-1] != "kernel":
            continue
        outputs, inputs = entry.shape
        name = "base_model.model." + entry.public.removesuffix(".weight")
        path = "/".join(entry.path[:-1])
        linear = table.under(name, path, entry.layer)
        linear.add("lora_A.weight", (rank, inputs), "a", LINEAR)
        linear.add("lora_B.weight", (outputs, rank), "b", LINEAR)
    return table
