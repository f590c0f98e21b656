"""Styles on the fly: low-rank adapters from public files (LoRA) beside a model.

    film = read_style("film.safetensors", model.preset)
    model = with_styles(model, [film])
    live = restyle(model, live, {"film": 0.6})      # generate/live: from the next chunk on

The adapters are arguments of the compiled steps, in a fixed number of slots of a fixed rank
(dit/styles): nothing is compiled again for another strength, or for another adapter in a slot.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util

from shotstream_jax.convert.fetch import local_adapter
from shotstream_jax.convert.lora.adapter import Adapter, read_adapter
from shotstream_jax.convert.lora.changes import AdapterChange, LowRank
from shotstream_jax.convert.lora.options import parse_source
from shotstream_jax.convert.names import Entry
from shotstream_jax.convert.tables import dit_table
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.settings import own_settings
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.core.typing import Params
from shotstream_jax.core.values import as_path, finite_number, number_between
from shotstream_jax.dit.lora import TARGETS, abstract_lora
from shotstream_jax.dit.styles import Style, StyleSlots, stack_styles
from shotstream_jax.model import Model, abstract_params
from shotstream_jax.presets import Preset

_MOST = 2**16  # slots, and ranks


def read_style(
    path: str | pathlib.Path,
    preset: Preset,
    *,
    name: str = "",
    strength: float = 1.0,
    alpha: float | None = None,
) -> Style:
    """An adapter's file or folder, in any public naming (docs/checkpoints.md), for a model.

    Args:
      path: the file, PEFT's folder, or hf:owner/name.
      preset: the model's sizes (model.preset).
      name: that shots call it by (default: the file's name without its end).
      strength: that it has in a shot that says nothing else: 1 as it was trained, 0 not at all,
        below 0 away from it.
      alpha: in place of what the file says.

    Raises:
      InputError: if it cannot be read, does not fit, or changes more than the blocks' matrices by
        products of low rank: then it can be merged into the weights.
    """
    path = as_path(path, "an adapter")
    strength = finite_number(strength, "a strength")
    table = dit_table(preset.dit)
    adapter = read_adapter(local_adapter(path), table.shapes(), alpha=alpha)
    entries = {entry.public: entry for entry in table.entries}
    factors = _factors(adapter, entries, abstract_params(preset, "dit"))
    return Style(name or path.stem, _checksum(factors), factors, strength)


def read_styles(texts: Sequence[str], preset: Preset) -> list[Style]:
    """Adapters as a command names them, FILE or FILE:STRENGTH; raises InputError as `read_style`.

    Says of each one its rank and its strength.
    """
    styles = []
    for text in texts:
        source = parse_source(text)
        style = read_style(source.path, preset, strength=source.strength)
        logging.info(
            "%s: style %s, rank %d, %g", source.path, style.name, style.rank, style.strength
        )
        styles.append(style)
    if styles:
        _check_styles(styles, len(styles), max(style.rank for style in styles))
    return styles


@own_settings()
def with_styles(
    model: Model,
    styles: Sequence[Style],
    *,
    slots: int | None = None,
    rank: int | None = None,
) -> Model:
    """The model with these adapters beside it, in place of those that it had.

    Args:
      model: shares its weights with the model that comes back.
      styles: the adapters; `model.styles.styles` are those that it has.
      slots: how many there can be, rank: the most that one may have. By default what the model has
        already, or as much as these need. Another number of them is another program.

    Raises:
      InputError: for two adapters of one name or with the same factors, more than there are slots,
        or a rank that is too large.
    """
    had = model.styles
    if slots is None:
        slots = max(len(styles), had.slots if had else 1)
    if rank is None:
        rank = max([style.rank for style in styles] + [had.rank if had else 1])
    slots = number_between(slots, "slots", 1, _MOST)
    rank = number_between(rank, "rank", 1, _MOST)
    _check_styles(styles, slots, rank)
    params = model.params["dit"]
    host = stack_styles(abstract_params(model.preset, "dit"), styles, slots, rank)
    host = jax.tree.map(lambda factor: factor.astype(jnp.dtype(model.dtype)), host)
    # Where the kernels are, and split as they are.
    mesh = model.mesh()
    if mesh is None:
        placed = jax.device_put(host, jax.tree.leaves(params)[0].sharding)
    else:
        placed = jax.device_put(host, param_shardings(mesh, "lora", host))
    return dataclasses.replace(model, styles=StyleSlots(tuple(styles), slots, rank, placed))


def _check_styles(styles: Sequence[Style], slots: int, rank: int) -> None:
    """Refuses what does not fit the slots."""
    if len(styles) > slots:
        raise InputError(f"{len(styles)} adapters do not fit into {slots} slots: give more slots")
    names: set[str] = set()
    checksums: set[str] = set()
    for style in styles:
        if style.rank > rank:
            raise InputError(
                f"the adapter {style.name} has rank {style.rank}, a slot has {rank}: give more rank"
            )
        if style.name in names:
            raise InputError(f"two adapters are called {style.name}: give one another name")
        if style.checksum in checksums:
            raise InputError(f"the adapter {style.name} is there twice: leave one out")
        names.add(style.name)
        checksums.add(style.checksum)


def _factors(adapter: Adapter, entries: dict[str, Entry], shapes: Params) -> Params:
    """A and scale·B of every kernel of the blocks, zeros where the adapter has none."""
    rank = max(adapter.ranks, default=1)
    flat = traverse_util.flatten_dict(abstract_lora(shapes, rank))
    factors = {path: np.zeros(leaf.shape, np.float32) for path, leaf in flat.items()}
    for name, changes in adapter.changes.items():
        entry = entries[name]
        *linear, _ = entry.path
        for change in changes:
            down, up = _low_rank(adapter, name, entry, change)
            factors[(*linear, "a")][entry.layer, :, : len(down)] = down.T
            factors[(*linear, "b")][entry.layer, : len(down)] = up.T
    for path, factor in factors.items():
        if not np.isfinite(factor).all():
            raise InputError(f"the adapter {adapter.path} is not finite in {'/'.join(path)}")
    return traverse_util.unflatten_dict(factors)


def _low_rank(
    adapter: Adapter, name: str, entry: Entry, change: AdapterChange
) -> tuple[np.ndarray, np.ndarray]:
    """A [rank, in] and scale·B [out, rank] of one change.

    Raises InputError for anything but a product beside a kernel of the blocks.
    """
    if not isinstance(change, LowRank):
        raise _no_style(adapter, name, "as a whole")
    if change.magnitude is not None:
        raise _no_style(adapter, name, "by DoRA")
    if entry.path[0] != "blocks" or entry.path[-2] not in TARGETS:
        raise _no_style(adapter, name, "outside of the blocks")
    down = np.asarray(change.down, np.float32).reshape(change.rank, -1)
    up = np.asarray(change.up, np.float32).reshape(-1, change.rank)
    return down, np.float32(change.scale) * up


def _no_style(adapter: Adapter, name: str, how: str) -> InputError:
    return InputError(
        f"the adapter {adapter.path} changes {name} {how}, which cannot be a style: merge it into "
        "the weights (shotstream convert copy … --lora …)"
    )


def _checksum(factors: Params) -> str:
    """16 hexadecimal digits that tell an adapter from others, whatever file it was in."""
    digest = hashlib.sha256()
    for path, factor in sorted(traverse_util.flatten_dict(factors).items()):
        digest.update(f"{'/'.join(path)} {list(factor.shape)}\n".encode())
        digest.update(np.ascontiguousarray(factor, "<f4").tobytes())
    return digest.hexdigest()[:16]
