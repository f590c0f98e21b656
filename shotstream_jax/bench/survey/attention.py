"""Section `attention`: the forms of attention that fit the device, at the stream's own shapes.

The error is |out − exact| / |exact| over some queries, where `exact` is numpy's in float32
from the same rounded inputs: a GPU would try kernels for a dozen seconds at each number of keys.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.bench.survey.survey import Survey
from shotstream_jax.core.typing import Array
from shotstream_jax.nn import attention

_COMPARED = 64  # queries of the first frame


def attention_section(survey: Survey) -> None:
    """A chunk's queries on a shot's first, middle and last keys, on captions, and gradients."""
    preset = survey.preset
    cfg = preset.dit
    rows, columns = cfg.grid(*preset.latent_grid(survey.video))
    tokens = rows * columns
    memory = preset.memory
    # Slots of the cache, of which the first so many are valid.
    slots = attention.cache_slots((memory.context + memory.window) * tokens, cfg.head_dim)
    last = memory.context + min(survey.video.shot_frames, memory.window)
    first = memory.context + memory.chunk
    # A chunk's queries, and a whole cache; how much of it counts is a length.
    q = _normal(survey, 0, (1, cfg.heads, memory.chunk, tokens, cfg.head_dim))
    shape = (1, cfg.heads, slots, cfg.head_dim)
    keys = _cached(_normal(survey, 1, shape))
    values = _cached(_normal(survey, 2, shape))
    # The device's own form first, should the time not be enough for all.
    own = attention.attention_form(q, jax.default_backend())
    for name in sorted(attention.FORMS, key=lambda name: name != own):
        if not attention.form_fits(name, q, jax.default_backend()):
            survey.find("attention", name, skipped="does not fit this device or these shapes")
            continue
        # The last chunk first: it takes the most of a shot's time.
        for frames in sorted({first, (first + last) // 2, last}, reverse=True):
            _forward(survey, name, q, keys, values, frames * tokens)
        _captions(survey, name, q)
        _gradient(
            survey,
            name,
            q,
            _cached(keys)[:, :, : first * tokens],
            _cached(values)[:, :, : first * tokens],
        )


def _cached(a: Array) -> Array:
    """From [b, n, s, k] to the axes that the device's caches have, or back."""
    return jnp.swapaxes(a, 1, 2) if attention.cache_tokens_first(a.shape[-1], a.dtype) else a


def _on_cached(form: Callable[..., Array]) -> Callable[..., Array]:
    """A form for keys and values with the axes of the device's caches."""

    def attend(q: Array, keys: Array, values: Array, length: Array | None) -> Array:
        """Reads them as the stream does: nothing is laid out anew, unless the form needs it."""
        return form(q, _cached(keys), _cached(values), length)

    return attend


def _forward(survey: Survey, name: str, q: Array, keys: Array, values: Array, valid: int) -> None:
    """A chunk's attention to the first `valid` keys of the cache."""
    attend = jax.jit(_on_cached(attention.FORMS[name]))
    length = jnp.full(1, valid, jnp.int32)
    slots = _cached(keys).shape[2]
    _measure(survey, f"{name}, {valid} of {slots} keys", attend, q, keys, values, length)


def _captions(survey: Survey, name: str, q: Array) -> None:
    """A chunk's attention to one caption."""
    cfg = survey.preset.dit
    attend = jax.jit(_on_cached(attention.FORMS[name]))
    shape = (1, cfg.heads, cfg.text_len, cfg.head_dim)
    keys = _cached(_normal(survey, 3, shape))
    values = _cached(_normal(survey, 4, shape))
    _measure(survey, f"{name}, a caption's {cfg.text_len}", attend, q, keys, values, None)


def _measure(
    survey: Survey,
    variant: str,
    attend: Any,
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
) -> None:
    """Time and error of one form with these keys."""
    exact_keys = _cached(keys)
    exact_values = _cached(values)
    valid = exact_keys.shape[2] if length is None else int(length[0])

    def call() -> Array:
        """The form, on all queries."""
        return attend(q, keys, values, length)

    def error() -> float:
        """Of some queries' output."""
        out = call()[:, :, 0, :_COMPARED].astype(jnp.float32)
        few = q[:, :, 0, :_COMPARED]
        exact = _exact(few, exact_keys[:, :, :valid], exact_values[:, :, :valid])
        return float(np.linalg.norm(np.asarray(out) - exact) / np.linalg.norm(exact))

    survey.measure("attention", variant, call, flops=_flops(q, valid), share=0.5, error=error)


def _gradient(survey: Survey, name: str, q: Array, keys: Array, values: Array) -> None:
    """Forward and backward, as a step of training needs them; all keys are valid."""

    def loss(q: Array, keys: Array, values: Array) -> Array:
        """Some number that depends on all of the output."""
        out = attention.FORMS[name](q, keys, values, None)
        return jnp.sum(out.astype(jnp.float32) ** 2)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    # Two matmuls forward, five backward (the scores are made again).
    survey.measure(
        "attention",
        f"{name}, with gradients, {keys.shape[2]} keys",
        lambda: gradient(q, keys, values),
        flops=3.5 * _flops(q, keys.shape[2]),
        share=0.5,
    )


def _flops(q: Array, keys: int) -> float:
    """Of scores and weighted values: 2 · 2 · queries · keys · width of all heads."""
    return 4.0 * q.size * keys


def _exact(q: Array, keys: Array, values: Array) -> np.ndarray:
    """softmax(q·keysᵀ/√k)·values in float32: [b, n, t, k], [b, n, s, k] → [b, n, t, k]."""
    queries = np.asarray(q).astype(np.float32)
    scores = queries @ np.asarray(keys).astype(np.float32).swapaxes(2, 3)
    scores *= q.shape[-1] ** -0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ np.asarray(values).astype(np.float32)


def _normal(survey: Survey, seed: int, shape: tuple[int, ...]) -> Array:
    """Normal numbers in the survey's type."""
    return jax.random.normal(jax.random.key(seed), shape, survey.dtype)
