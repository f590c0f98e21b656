"""Adapters beside the transformer: in a fixed number of slots, each with a strength of its own.

What a program is compiled for is the number of slots and their rank. Other adapters in the slots,
and other strengths, are other arguments of the same program (nn/adapted has the equation). An
empty slot, and what an adapter lacks of the rank, is zeros.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Params
from shotstream_jax.dit.lora import abstract_lora, adapted_kernels
from shotstream_jax.nn.adapted import AdaptedKernel


@dataclasses.dataclass(frozen=True, eq=False)
class Style:
    """A low-rank adapter, ready to stand beside a model (shotstream_jax/styles reads its file).

    name: what shots call it by.
    checksum: of its factors, whatever file they were in.
    factors: a tree as of dit/lora, with its scale in B; numpy, float32.
    strength: that a shot has it at, if it says nothing else.
    """

    name: str
    checksum: str
    factors: Params
    strength: float = 1.0

    @property
    def rank(self) -> int:
        """The largest rank of its layers."""
        return jax.tree.leaves(self.factors)[0].shape[-1]


@dataclasses.dataclass(frozen=True, eq=False)
class StyleSlots:
    """A model's adapters.

    styles: those that are there, in the order of their slots.
    slots: how many there can be.
    rank: the most that one can have.
    factors: of all slots side by side, as of dit/lora with the rank slots·rank, on the devices.
    """

    styles: tuple[Style, ...]
    slots: int
    rank: int
    factors: Params

    def named(self, name: str) -> Style:
        """An adapter by its name. Raises InputError if there is none."""
        for style in self.styles:
            if style.name == name:
                return style
        known = ", ".join(style.name for style in self.styles) or "none"
        raise InputError(f"the model has no adapter {name!r:.40}; it has {known} (with_styles)")

    def strength_table(self, stories: Sequence[Mapping[str, float]]) -> np.ndarray:
        """The strengths [stories, slots] of every story: by the adapters' checksums, else 0.

        Raises InputError if one that is wanted is not there.
        """
        places = {style.checksum: slot for slot, style in enumerate(self.styles)}
        table = np.zeros((len(stories), self.slots), np.float32)
        for row, strengths in enumerate(stories):
            for checksum, strength in strengths.items():
                if checksum in places:
                    table[row, places[checksum]] = strength
                elif strength:
                    raise _missing(checksum)
        return table


def without_styles(params: Params, stories: Sequence[Mapping[str, float]]) -> Params:
    """The parameters as they are. Raises InputError if a story wants an adapter."""
    for strengths in stories:
        for checksum, strength in strengths.items():
            if strength:
                raise _missing(checksum)
    return params


def _missing(checksum: str) -> InputError:
    return InputError(
        f"the shot is made with the adapter {checksum}, which the model has no more: keep it until "
        "the shot is finished (with_styles), or restyle the shot to strength 0 first"
    )


def stack_styles(params: Params, styles: Sequence[Style], slots: int, rank: int) -> Params:
    """The factors of all slots side by side, a tree of numpy arrays as of dit/lora.

    params: of the transformer, arrays or shapes.
    """
    shapes = traverse_util.flatten_dict(abstract_lora(params, slots * rank))
    stacked = {path: np.zeros(leaf.shape, np.float32) for path, leaf in shapes.items()}
    for slot, style in enumerate(styles):
        first = slot * rank
        for path, factor in traverse_util.flatten_dict(style.factors).items():
            # A [layers, in, rank] has its rank last, B [layers, rank, out] in the middle.
            if path[-1] == "a":
                stacked[path][:, :, first : first + factor.shape[2]] = factor
            else:
                stacked[path][:, first : first + factor.shape[1]] = factor
    return traverse_util.unflatten_dict(stacked)


def put_styles(params: Params, factors: Params, strengths: np.ndarray) -> Params:
    """The transformer's parameters with adapters beside the kernels of its blocks.

    factors: of all slots, on the devices. strengths: [b, slots], of each slot in every story.
    """
    blocks = traverse_util.flatten_dict(params["blocks"])
    beside = traverse_util.flatten_dict(factors["blocks"])
    kernels = adapted_kernels(params)
    ups = _strengthened({path: beside[(*path, "b")] for path in kernels}, strengths)
    for path, kernel in kernels.items():
        blocks[(*path, "kernel")] = AdaptedKernel(kernel, beside[(*path, "a")], ups[path])
    return params | {"blocks": traverse_util.unflatten_dict(blocks)}


@jax.jit
def _strengthened(
    ups: dict[tuple[str, ...], Array], strengths: Float[Array, "b slots"]
) -> dict[tuple[str, ...], Array]:
    """s·B of every story [layers, b, slots·rank, out], from B [layers, slots·rank, out]."""

    def strengthened(up: Array) -> Array:
        """Those of one Linear."""
        rows = jnp.repeat(strengths, up.shape[1] // strengths.shape[1], axis=1)  # [b, slots·rank]
        return (up[:, None] * rows[None, :, :, None]).astype(up.dtype)

    return {path: strengthened(up) for path, up in ups.items()}
