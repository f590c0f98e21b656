"""The one `attend()`, and attention by static groups for the whole-sequence student.

Keys and values lie as [b, n, s, k] (batch, head, token, dim): the layout in which a cache slice is contiguous for
a head, which TPUs want as well. Queries stay grouped by frame, [b, n, f, t, k]: the tokens of a frame can be split over
devices (sequence parallelism), where every device has all keys.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import constrain, on_own_part
from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.nn import kernels, splash

FORM_VARIABLE = "SHOTSTREAM_ATTENTION"  # names one form, for all devices: to compare them, or to get round a bad one
FORMS = {
    "exact": kernels.exact,
    "tiled": kernels.tiled,
    "cudnn": kernels.cudnn,
    "splash": splash.splash,
}


@typechecked
def attend(
    q: Float[Array, "b n f t k"],
    keys: Float[Array, "b n s k"],
    values: Float[Array, "b n s k"],
    length: Int[Array, "b"] | None = None,
) -> Float[Array, "b n f t k"]:
    """softmax(q·keysᵀ/√k)·values, exact. Only the first `length` keys count (all of them if None).

    A cache keeps its valid keys a prefix, so a length is all the masking there is. Each kind of device has its form;
    it works on the stories, heads and tokens that a device has.
    """
    arrays, dims = (q, keys, values), ("b n f t k", "b n s k", "b n s k")
    if length is not None:
        arrays, dims = (*arrays, length), (*dims, "b")
    # Named, so that a layer computed again for its gradient (Trunk.remat) need not attend again.
    return checkpoint_name(on_own_part(_attend, *arrays, dims=dims), "attended")


def _attend(q: Array, keys: Array, values: Array, *length: Array) -> Array:
    if name := os.environ.get(FORM_VARIABLE):
        if name not in FORMS:
            raise InputError(
                f"{FORM_VARIABLE}={name} is no form of attention; there are {', '.join(FORMS)}"
            )
        return _apply(FORMS[name], q, keys, values, *length)
    taken = {
        "cpu": kernels.tiled,
        "tpu": splash.splash if splash.fits(q.shape[-1]) else kernels.exact,
    }
    # cuDNN cannot even be traced where it is not, so a GPU's form is chosen here, for the machine that we are on.
    default = kernels.cudnn if kernels.cudnn_fits(q) else kernels.exact
    taken = {platform: functools.partial(_apply, form) for platform, form in taken.items()}
    return jax.lax.platform_dependent(
        q, keys, values, *length, default=functools.partial(_apply, default), **taken
    )


def _apply(
    form: Callable[..., Array], q: Array, keys: Array, values: Array, length: Array | None = None
) -> Array:
    return form(q, keys, values, length)


def cache_slots(tokens: int, head_dim: int) -> int:
    """How long a cache for so many keys should be, so that no form of attention has to copy it to its liking."""
    return splash.whole_blocks(tokens) if splash.fits(head_dim) else tokens


@dataclasses.dataclass(frozen=True)
class Group:
    """Queries that see the same keys: a range of frames of the queries, token ranges of own keys and past keys."""

    queries: slice
    own: slice
    past: tuple[slice, ...]


@typechecked
def group_attend(
    q: Float[Array, "b n f t k"],
    own: tuple[Float[Array, "b n own k"], Float[Array, "b n own k"]],
    past: tuple[Float[Array, "b n s k"], Float[Array, "b n s k"]],
    groups: Sequence[Group],
) -> Float[Array, "b n f t k"]:
    """Block-causal attention as a static loop of unmasked ones; no mask is ever made.

    The whole-sequence student passes its own keys as the past; a gradient replay passes stopped caches.
    The groups' queries must tile q in order.
    """

    def visible(group: Group, side: int) -> Array:
        pieces = [past[side][:, :, part] for part in group.past] + [own[side][:, :, group.own]]
        return jnp.concatenate(pieces, axis=2)

    outputs = [attend(q[:, :, g.queries], visible(g, 0), visible(g, 1)) for g in groups]
    return jnp.concatenate(outputs, axis=2)


@typechecked
def split_heads(x: Float[Array, "b f t d"], heads: int) -> Float[Array, "b n f t k"]:
    return x.reshape(*x.shape[:3], heads, -1).transpose(0, 3, 1, 2, 4)


@typechecked
def join_heads(x: Float[Array, "b n f t k"]) -> Float[Array, "b f t d"]:
    b, n, f, t, k = x.shape
    return x.transpose(0, 2, 3, 1, 4).reshape(b, f, t, n * k)


@typechecked
def flat_tokens(x: Float[Array, "b n f t k"]) -> Float[Array, "b n s k"]:
    """All frames' tokens as one sequence, as keys and values are kept; gathered from the devices that share it."""
    b, n, f, t, k = x.shape
    return constrain(x.reshape(b, n, f * t, k), "b n s k")
