"""Forms of attention: how it is computed.

All are exact, softmax(q·keysᵀ/√k)·values; they differ in what they keep in memory.

    exact   all scores at once, or one frame of queries at a time where they are many
    cudnn   for NVIDIA GPUs: cuDNN's flash attention; keys beyond the length are not looked at
    mosaic  the same by tokamax, where that is installed and asked for (Python 3.12, Hopper)
    tiled   for CPUs and for GPUs without cuDNN's, in nn/tiled: a tile of scores at a time
    splash  for TPUs, in nn/splash: blocks of keys beyond the length are not looked at

All take q [b, n, f, t, k], keys and values [b, n, s, k] and length [b] or None, and return [b, n,
f, t, k]. With a length only the first `length` keys of a story count.

A form names what its backward pass starts from, the output and the sums of its softmax, by
ATTENDED; so a layer that is computed again for its gradient need not attend again (is_attended).
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from shotstream_jax.core.devices import AMPERE, target_capability
from shotstream_jax.core.typing import Array

ATTENDED = "attended"
# jax gives cuDNN's output and sums no name of their own: they are known by their primitive.
_CUDNN_PRIMITIVE = "dot_product_attention_fwd_wrapper"
_has_name = jax.checkpoint_policies.save_only_these_names(ATTENDED)

# Above so many scores a story (2²⁷ are 512 MB), `exact` takes the queries frame by frame.
_MOST_SCORES = 2**27


def is_attended(primitive: Any, *shapes: Any, **parameters: Any) -> bool:
    """A policy of jax.checkpoint: what attention leaves for its backward pass is kept."""
    return primitive.name == _CUDNN_PRIMITIVE or _has_name(primitive, *shapes, **parameters)


def exact(
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> Array:
    """Plain attention: scores of all queries at once, or frame by frame if they are too many."""
    scores = math.prod(q.shape[1:4]) * keys.shape[2]
    if scores <= _MOST_SCORES or q.shape[2] == 1:
        return checkpoint_name(_exact(q, keys, values, length), ATTENDED)

    # Checkpointed: the backward pass makes a frame's scores again and never keeps those of all
    # frames.
    @jax.checkpoint
    def one_frame(q: Array) -> Array:
        """[b, n, t, k] → [b, n, t, k]."""
        return _exact(
            q[:, :, None],
            keys,
            values,
            length,
        )[:, :, 0]

    by_frame = jax.lax.map(one_frame, jnp.moveaxis(q, 2, 0))
    return checkpoint_name(jnp.moveaxis(by_frame, 0, 2), ATTENDED)


def _exact(
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> Array:
    # Scores in float32 whatever the inputs' type, [b, n, f, t, s].
    products = jnp.einsum(
        "bnftk,bnsk->bnfts",
        q,
        keys,
        preferred_element_type=jnp.float32,
    )
    scores = products * q.shape[-1] ** -0.5
    if length is not None:
        # Keys from a story's length on get no weight.
        valid = jnp.arange(keys.shape[2])[None, :] < length[:, None]
        scores = jnp.where(valid[:, None, None, None, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return jnp.einsum("bnfts,bnsk->bnftk", weights, values)


def cudnn_fits(q: Array | jax.ShapeDtypeStruct) -> bool:
    """Whether the GPU that is traced for has cuDNN's kernel for such queries."""
    capability = target_capability()
    if capability is None or capability < AMPERE:
        return False
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    width = q.shape[-1]
    widest = 256 if capability >= 9 else 128
    return width % 8 == 0 and width <= widest


def cudnn(
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> Array:
    """cuDNN's flash attention through jax's interface."""
    form = functools.partial(jax.nn.dot_product_attention, implementation="cudnn")
    return _heads_last(form, q, keys, values, length)


def mosaic_fits(q: Array | jax.ShapeDtypeStruct) -> bool:
    """Whether tokamax is installed and has its kernel for such queries on the GPU traced for."""
    if importlib.util.find_spec("tokamax") is None:
        return False
    # For Hopper and data-centre Blackwell only, in the widths of its matrix units.
    if target_capability() not in (9.0, 10.0, 10.3):
        return False
    return q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] in (64, 128)


def mosaic(
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> Array:
    """tokamax's flash attention. Unlike cuDNN's it reads a layer's keys where they lie."""
    import tokamax  # takes seconds, and only this form uses it

    form = functools.partial(tokamax.dot_product_attention, implementation="mosaic")
    # Its sums have no name: the backward pass attends again.
    return checkpoint_name(_heads_last(form, q, keys, values, length), ATTENDED)


def _heads_last(
    form: Callable[..., Array],
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> Array:
    """Attention by a function of jax.nn's interface, which has the heads after the tokens."""
    b, n, f, t, k = q.shape
    flat = q.reshape(b, n, f * t, k)
    out = form(
        jnp.moveaxis(flat, 1, 2),  # [b, f·t, n, k]
        jnp.moveaxis(keys, 1, 2),  # [b, s, n, k]
        jnp.moveaxis(values, 1, 2),
        key_value_seq_lengths=length,
    )
    return jnp.moveaxis(out, 2, 1).reshape(b, n, f, t, k)
