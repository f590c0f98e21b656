"""Adapters added to a model's weights for good."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax.convert.cast import cast_finite, too_large
from shotstream_jax.convert.lora.adapter import Adapter
from shotstream_jax.convert.lora.changes import AdapterChange
from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.core.errors import InputError


class Weighted(NamedTuple):
    """An adapter and its strength: 1 as it was trained, 0 not at all, below 0 away from it."""

    adapter: Adapter
    strength: float


class _Step(NamedTuple):
    """One change of one adapter."""

    path: pathlib.Path
    change: AdapterChange
    strength: float


def state_shapes(state: State) -> dict[str, tuple[int, ...]]:
    """The shapes of a state dict's arrays."""
    return {name: tuple(array.shape) for name, array in state.items()}


def merge_adapters(state: State, adapters: Sequence[Weighted]) -> State:
    """A model's weights with adapters added one after another, not read yet.

    state: under plain names. The sum is float32, and is rounded once, to each weight's own type.
    """
    steps: dict[str, list[_Step]] = {}
    for adapter, strength in adapters:
        # At strength 0 everything stays as it is, bit for bit.
        if strength == 0:
            continue
        for name, changes in adapter.changes.items():
            for change in changes:
                steps.setdefault(name, []).append(_Step(adapter.path, change, strength))
    # All else stays as it is.
    merged = dict(state)
    for name, found in steps.items():
        merged[name] = _merged(name, state[name], found)
    return merged


def _merged(name: str, weights: Lazy | np.ndarray, steps: Sequence[_Step]) -> Lazy:
    """One parameter with its changes."""
    dtype = np.dtype(weights.dtype)

    def read() -> np.ndarray:
        """W' in W's own type. Raises InputError if it is not finite where W was."""
        original = np.asarray(weights, np.float32)
        changed = original
        # What overflows, or never was a number, is told below.
        with np.errstate(all="ignore"):
            for step in steps:
                changed = step.change.apply(changed, step.strength)
        if not np.isfinite(changed).all() and np.isfinite(original).all():
            paths = ", ".join(sorted({str(step.path) for step in steps}))
            raise InputError(f"{name} would not be finite with {paths}: is it damaged?")
        cast = cast_finite(changed, dtype)
        if cast is None:
            raise too_large([name], dtype)
        return cast

    return Lazy(tuple(weights.shape), dtype, read)


def rename_back(merged: State, plain: State, own: State) -> dict[str, Lazy | np.ndarray]:
    """A merged state dict under the names that its file has.

    plain, own: the file's state under plain and under its own names, in the same order.
    """
    names: Mapping[str, str] = dict(zip(plain, own, strict=True))
    return {names[name]: array for name, array in merged.items()}
