"""The one `attend()`, and attention by static groups for the whole-sequence student.

Keys and values lie as [b, n, s, k] (batch, head, token, dim): the layout in which a cache slice is
contiguous for a head, which TPUs want as well. Queries stay grouped by frame, [b, n, f, t, k]: the
tokens of a frame can be split over devices (sequence parallelism), where every device has all keys.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from absl import logging

from shotstream_jax.core.devices import target_platform
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import constrain, on_own_part
from shotstream_jax.core.typing import Array, DType, Float, Int, typechecked
from shotstream_jax.nn import kernels, splash, tiled

# Environment variable that names a form, which is taken wherever it fits: to compare forms, or to
# avoid one that fails.
FORM_VARIABLE = "SHOTSTREAM_ATTENTION"
FORMS = {
    "exact": kernels.exact,
    "tiled": tiled.tiled,
    "cudnn": kernels.cudnn,
    "mosaic": kernels.mosaic,
    "splash": splash.splash,
}


@typechecked
def attend(
    q: Float[Array, "b n f t k"],
    keys: Float[Array, "b n s k"],
    values: Float[Array, "b n s k"],
    length: Int[Array, "b"] | None = None,
) -> Float[Array, "b n f t k"]:
    """softmax(q·keysᵀ/√k)·values, exact.

    Only the first `length` keys of a story count (all of them if None). A cache keeps its valid
    keys a prefix, so a length is all the masking there is. Each kind of device has its form; it
    works on the stories, heads and tokens that a device has.
    """
    arrays: tuple[Array, ...] = (q, keys, values)
    dims: tuple[str, ...] = ("b n f t k", "b n s k", "b n s k")
    if length is not None:
        arrays = (*arrays, length)
        dims = (*dims, "b")
    return on_own_part(_attend, *arrays, dims=dims)


def _attend(
    q: Array,
    keys: Array,
    values: Array,
    *length: Array,
) -> Array:
    """The form of the device that the program is compiled for."""
    # cuDNN cannot even be traced where it is not: on other machines a GPU's form is another one.
    forms = {}
    for platform in ("cpu", "tpu", "gpu"):
        form = FORMS[attention_form(q, platform)]
        forms[platform] = functools.partial(_apply, form)
    return jax.lax.platform_dependent(
        q,
        keys,
        values,
        *length,
        cpu=forms["cpu"],
        tpu=forms["tpu"],
        default=forms["gpu"],
    )


def attention_form(q: Array | jax.ShapeDtypeStruct, platform: str) -> str:
    """The name of the form that `attend` takes for such queries on a platform: cpu, gpu or tpu.

    The first that fits them: the one that the environment names, then the platform's own.
    Raises InputError if the environment names a form that is not known.
    """
    named = os.environ.get(FORM_VARIABLE)
    if named and named not in FORMS:
        known = ", ".join(FORMS)
        raise InputError(
            f"{FORM_VARIABLE}={named} is not a form of attention; choose one of {known}"
        )
    # What the user would rather have, then what the device would.
    if named and form_fits(named, q, platform):
        return named
    for form in _OWN_FORMS[platform]:
        if form_fits(form, q, platform):
            return form
    return "exact"


def warn_of_unfit_form(head_dim: int, dtype: DType) -> None:
    """Says in a line if the form that the environment names is not the one that will be used.

    head_dim: of the queries. Raises InputError if the environment names a form that is not known.
    """
    platform = target_platform()
    # Only width and type matter: [b, n, f, t, k].
    queries = jax.ShapeDtypeStruct((1, 1, 1, 1, head_dim), dtype)
    used = attention_form(queries, platform)
    named = os.environ.get(FORM_VARIABLE)
    if named and named != used:
        logging.warning(
            "%s=%s does not fit this device (%s) and model: %s is used",
            FORM_VARIABLE,
            named,
            platform,
            used,
        )


# What each platform would rather have, the first first.
_OWN_FORMS = {"cpu": ("tiled",), "tpu": ("splash",), "gpu": ("cudnn", "tiled")}


def form_fits(form: str, q: Array | jax.ShapeDtypeStruct, platform: str) -> bool:
    """Whether a platform has this form for such queries."""
    if form == "cudnn":
        return platform == "gpu" and kernels.cudnn_fits(q)
    if form == "mosaic":
        return platform == "gpu" and kernels.mosaic_fits(q)
    if form == "splash":
        return platform == "tpu" and splash.fits(q.shape[-1])
    return True


def _apply(
    form: Callable[..., Array],
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None = None,
) -> Array:
    return form(q, keys, values, length)


def cache_slots(tokens: int, head_dim: int) -> int:
    """How many keys a cache for `tokens` keys should hold.

    So many that no form of attention has to copy the cache to pad it.
    """
    if splash.fits(head_dim):
        return splash.whole_blocks(tokens)
    return tokens


def cache_tokens_first(head_dim: int, dtype: DType) -> bool:
    """Whether a cache should have tokens before heads (memory/cache.KV).

    So GPUs' own kernels read them; the other forms would have to turn the cache.
    """
    if target_platform() != "gpu":
        return False
    # Only width and type matter: [b, n, f, t, k].
    queries = jax.ShapeDtypeStruct((1, 1, 1, 1, head_dim), dtype)
    return attention_form(queries, "gpu") in ("cudnn", "mosaic")


@dataclasses.dataclass(frozen=True)
class Group:
    """Queries that see the same keys.

    Attributes:
        queries: a range of the queries' frames.
        own: what they see of the same pass's keys, a range of tokens.
        past: what they see of earlier keys, ranges of tokens.
    """

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

    Args:
        q: queries, which the groups' ranges must tile in order.
        own: keys and values of the same pass.
        past: earlier keys and values. The whole-sequence student passes its own once more, a replay
            those of a cache.
        groups: who sees what.
    """
    own_keys, own_values = own
    past_keys, past_values = past
    outputs = []
    for group in groups:
        attended = attend(
            q[:, :, group.queries],
            _visible(group, own_keys, past_keys),
            _visible(group, own_values, past_values),
        )
        outputs.append(attended)
    return jnp.concatenate(outputs, axis=2)


def _visible(
    group: Group,
    own: Array,
    past: Array,
) -> Array:
    """Keys (or values) that a group sees: its ranges of the past, then its own, [b, n, s, k]."""
    pieces = [past[:, :, part] for part in group.past]
    pieces.append(own[:, :, group.own])
    return jnp.concatenate(pieces, axis=2)


@typechecked
def split_heads(x: Float[Array, "b f t d"], heads: int) -> Float[Array, "b n f t k"]:
    """The width d as n heads of width k = d/n, heads before tokens."""
    return x.reshape(*x.shape[:3], heads, -1).transpose(0, 3, 1, 2, 4)


@typechecked
def join_heads(x: Float[Array, "b n f t k"]) -> Float[Array, "b f t d"]:
    """The inverse of split_heads."""
    b, n, f, t, k = x.shape
    return x.transpose(0, 2, 3, 1, 4).reshape(b, f, t, n * k)


@typechecked
def flat_tokens(x: Float[Array, "b n f t k"]) -> Float[Array, "b n s k"]:
    """All frames' tokens as one sequence, as keys and values are kept.

    On a mesh a frame's tokens are gathered from the devices that share it.
    """
    b, n, f, t, k = x.shape
    return constrain(x.reshape(b, n, f * t, k), "b n s k")
