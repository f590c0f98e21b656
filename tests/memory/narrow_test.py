"""Keys and values of frames in 8 bits: rounding, memory, and what a stream makes of it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.narrow import narrow, widen
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.memory.cache import FrameIds, init_caches, put
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import Model
from shotstream_jax.testing import tiny_model

# Largest error of a number over the largest of its token and head: half a step of int8, of fp8
# half a step of its coarsest binade.
STEP = {"int8": 0.5 / 127, "fp8": 0.5 * 32 / 448}
# Bounds of the relative error of a chunk's latents against the full cache.
BOUND = {"int8": 0.01, "fp8": 0.05}


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def kept(cache_dtype: str, tokens_first: bool):
    """A cache of two layers with random keys in layer 1, and these keys."""
    caches = init_caches(
        MemoryConfig(),
        layers=2,
        batch=2,
        heads=3,
        head_dim=8,
        slots=10,
        text_len=4,
        dtype=jnp.float32,
        tokens_first=tokens_first,
        cache_dtype=cache_dtype,
    )
    # Tokens of very different sizes, and one of zeros.
    new = normal(0, 2, 3, 4, 8) * jnp.asarray([1e-4, 1.0, 300.0, 0.0])[None, None, :, None]
    return put(caches.frames, 1, new, -new, jnp.asarray([2, 5], jnp.int32)), new


@pytest.mark.parametrize("tokens_first", [False, True])
@pytest.mark.parametrize("cache_dtype", STEP)
def test_each_token_and_head_has_its_own_scale(cache_dtype, tokens_first):
    frames, new = kept(cache_dtype, tokens_first)
    keys, values = frames.layer(1)
    largest = jnp.max(jnp.abs(new), axis=-1, keepdims=True)
    for story, first in enumerate((2, 5)):
        found = keys[story, :, first : first + 4]
        assert jnp.all(jnp.abs(found - new[story]) <= 1.001 * STEP[cache_dtype] * largest[story])
        np.testing.assert_array_equal(values[story], -keys[story])
        assert not jnp.any(keys[story, :, :first])  # nothing else is written
    part = frames.part(2, 3)
    np.testing.assert_array_equal(part.layer(1)[0], keys[:, :, 2:5])


@pytest.mark.parametrize("cache_dtype", STEP)
def test_the_largest_number_is_kept(cache_dtype):
    x = normal(1, 5, 8)
    rounded = narrow(x, {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}[cache_dtype])
    index = jnp.argmax(jnp.abs(x), axis=-1)[:, None]
    taken = jnp.take_along_axis(widen(rounded, jnp.float32), index, axis=-1)
    np.testing.assert_allclose(taken, jnp.take_along_axis(x, index, axis=-1), rtol=1e-6)


def model(cache_dtype: str) -> Model:
    return dataclasses.replace(tiny_model(), cache_dtype=cache_dtype)


@functools.cache
def streamed(cache_dtype: str):
    return list(stream_generate(model(cache_dtype), ["a fox wakes", "it runs"], seed=3))


@pytest.mark.parametrize("cache_dtype", BOUND)
def test_a_story_is_near_that_of_the_full_cache(cache_dtype):
    for ours, full in zip(streamed(cache_dtype), streamed("same"), strict=True):
        error = np.linalg.norm(ours.latents - full.latents) / np.linalg.norm(full.latents)
        assert BOUND[cache_dtype] / 100 < error < BOUND[cache_dtype]


def chunk_arguments(of: Model):
    preset, grid = of.preset, (4, 6)
    shape = (len(preset.steps.nominal), 1, preset.memory.chunk, *grid, preset.dit.channels)
    ids = FrameIds(*(jnp.ones((1, preset.memory.chunk), jnp.int32) for _ in range(2)))
    caches = of.student.init_caches(1, *grid)
    return of.student, of.params["dit"], jnp.zeros(shape), ids, caches, preset.steps


def test_the_program_holds_8_bits_and_writes_them_in_place():
    given = chunk_arguments(model("int8"))
    program = steps.chunk_step.lower(*given).compile()
    memory = program.memory_analysis()
    frames = given[4].frames
    assert memory.alias_size_in_bytes >= sum(a.nbytes for a in jax.tree.leaves(given[4]))
    wide = sum(a.nbytes for a in jax.tree.leaves(chunk_arguments(model("same"))[4].frames))
    # 24 numbers of a head in a byte each, and a scale of four bytes.
    assert sum(a.nbytes for a in jax.tree.leaves(frames)) * 96 == wide * 28


def test_a_mesh_gives_the_same():
    of = model("int8")
    want, _ = steps.chunk_step(*chunk_arguments(of))
    mesh = make_mesh({"sequence": 2, "tensor": 2}, jax.devices()[:4])
    with jax.set_mesh(mesh):
        found, caches = steps.chunk_step(*chunk_arguments(of))
    np.testing.assert_allclose(found, want, atol=2e-3)
    # Heads are split, of numbers and scales alike.
    assert caches.frames.keys.scale.sharding.spec[2] == "tensor"
    assert caches.frames.keys.numbers.sharding.spec[2] == "tensor"
