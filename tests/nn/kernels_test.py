"""Every form of attention agrees with the plain one, in values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit.trunk import REMAT
from shotstream_jax.nn import attention, kernels, splash, tiled

# Largest relative difference (of norms) that rounding explains: the inputs' type rounds weights and
# results.
TOLERANCE = {jnp.float32: 2e-6, jnp.bfloat16: 1e-2}


def _inputs(dtype):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (2, 3, 4, 5, 8), (2, 3, 30, 8), (2, 3, 30, 8), (2, 3, 4, 5, 8)
    return [jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length", [None, (30, 7)])
@pytest.mark.parametrize(
    "tile", [1, 200, 2**20]
)  # single queries; some queries of one head; all at once
def test_tiles_agree_with_all_scores_at_once(dtype, length, tile, monkeypatch):
    monkeypatch.setattr(tiled, "_TILE", tile)
    *qkv, weight = _inputs(dtype)
    length = None if length is None else jnp.array(length)

    def with_gradients(form):
        out, pullback = jax.vjp(lambda q, k, v: form(q, k, v, length), *qkv)
        return out, *pullback(weight)

    wide = [a.astype(jnp.float32) for a in jax.jit(lambda: with_gradients(tiled.tiled))()]
    plain = [a.astype(jnp.float32) for a in jax.jit(lambda: with_gradients(kernels.exact))()]
    for name, ours, theirs in zip(("out", "q", "keys", "values"), wide, plain, strict=True):
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert error < TOLERANCE[dtype], f"{name}: {error:.1e}"


@pytest.mark.parametrize("longest", [1, 4, 5, 29])  # of prefixes that end at 4, 8, …, 28, 30
def test_tiles_see_the_longest_story(longest, monkeypatch):
    """Only a prefix of the keys is looked at: the shortest that holds them."""
    monkeypatch.setattr(tiled, "_TILE", 200)
    q, keys, values, _ = _inputs(jnp.float32)
    length = jnp.array([1, longest])
    stop = -(-longest // 4) * 4
    junk = (
        a.at[:, :, stop:].set(jnp.nan) for a in (keys, values)
    )  # a mask alone would leave 0·nan
    np.testing.assert_allclose(
        tiled.tiled(q, *junk, length),
        kernels.exact(q, keys, values, length),
        rtol=1e-5,
        atol=1e-6,
    )


def test_keys_beyond_the_length_change_nothing():
    q, keys, values, _ = _inputs(jnp.float32)
    length = jnp.array([26, 7])
    beyond = jnp.arange(30)[None, None, :, None] >= length[:, None, None, None]
    for form in (tiled.tiled, kernels.exact):
        junk = form(q, jnp.where(beyond, 1e4, keys), jnp.where(beyond, 1e4, values), length)
        np.testing.assert_array_equal(junk, form(q, keys, values, length))


@pytest.mark.parametrize("length", [None, (700, 300)])
def test_splash_agrees(length, monkeypatch):
    """The TPU kernel, interpreted, with padded queries and keys, and blocks beyond the length."""
    monkeypatch.setattr(splash, "_BLOCK", 256)
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (2, 2, 3, 100, 128), (2, 2, 700, 128), (2, 2, 700, 128), (2, 2, 3, 100, 128)
    *qkv, weight = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    length = None if length is None else jnp.array(length)

    def results(form, q, k, v):
        if length is not None:
            return (form(q, k, v, length),)
        out, pullback = jax.vjp(lambda *qkv: form(*qkv, None), q, k, v)
        return out, *pullback(weight)

    ours = jax.jit(lambda *qkv: results(functools.partial(splash.splash, interpret=True), *qkv))(
        *qkv
    )
    theirs = jax.jit(lambda *qkv: results(kernels.exact, *qkv))(*qkv)
    for a, b in zip(ours, theirs, strict=True):
        assert np.linalg.norm(a - b) / np.linalg.norm(b) < TOLERANCE[jnp.float32]


def test_splash_skips_keys_beyond_the_length():
    """Not only masked: a block beyond the length is not looked at, whatever is in it."""
    q, keys = jnp.ones((1, 1, 1, 128, 128)), jnp.ones((1, 1, 2048, 128))
    junk = keys.at[:, :, 1024:].set(jnp.nan)
    out = splash.splash(q, junk, junk, jnp.array([900]), interpret=True)
    np.testing.assert_allclose(out, 1, rtol=1e-6)


@pytest.mark.parametrize(
    "tokens, slots", [(60, 128), (1000, 1024), (27 * 390, 10752), (27 * 1560, 42240)]
)
def test_a_cache_has_whole_blocks(tokens, slots):
    """So that no pass copies it. The last two are Wan's at 240×416 and 480×832."""
    assert splash.whole_blocks(tokens) == splash.whole_blocks(slots) == slots
    assert (
        attention.cache_slots(tokens, 128) == slots and attention.cache_slots(tokens, 64) == tokens
    )
    shapes = [
        jax.ShapeDtypeStruct((1, 1, *shape), jnp.bfloat16)
        for shape in ((1, 128, 128), (slots, 128), (slots, 128))
    ]
    traced = jax.make_jaxpr(lambda *qkv: splash.splash(*qkv, jnp.array([tokens])))(*shapes)
    assert not any(equation.primitive.name == "pad" for equation in traced.eqns)


def test_a_layer_computed_again_attends_no_second_time():
    """Scores are made for the output and for the gradient only: output and L are kept."""
    q, kv = jnp.ones((1, 2, 3, 4, 8)), jnp.ones((1, 2, 12, 8))
    layer = jax.checkpoint(lambda q: tiled.tiled(q, kv, kv, None), policy=REMAT["dots"])
    program = str(jax.make_jaxpr(jax.grad(lambda q: layer(q).sum()))(q))
    assert program.count("= exp ") == 2
