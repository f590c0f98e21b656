"""The parallel gradient replay is the sequential one, and the rollout is the generation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit import student as student_module
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.shot import chunk_step, commit, prefill
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import random_params
from shotstream_jax.nn import splash
from shotstream_jax.testing import tiny_preset
from shotstream_jax.train.losses.rollout import replay, rollout

FRAMES, BATCH, LAST = 8, 2, 2
MEMORIES = {
    "all": MemoryConfig(context=4, chunk=2, window=8),
    "window": MemoryConfig(context=4, chunk=2, window=4),
    "sinks": MemoryConfig(context=4, chunk=2, window=6, sinks=2),
}
PRESET = tiny_preset(shot_frames=FRAMES)
PARAMS = jax.tree.map(jnp.asarray, random_params(PRESET, seed=3)["dit"])
STEPS, SCHEDULE = PRESET.steps, Schedule()
LATENT = (*PRESET.latent_grid(PRESET.video), PRESET.dit.channels)


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def conditions() -> Conditions:
    ids = FrameIds(
        jnp.asarray([[0, 0, 1, 1, 2], [0, 0, 0, 0, 1]]),
        jnp.asarray([[0, 0, 1, 1, 2], [0, 0, 0, 0, 1]]),
    )
    text = normal(1, BATCH, 5, PRESET.dit.text_len, PRESET.dit.text_dim)
    return Conditions(normal(0, BATCH, 4, *LATENT), ids, text)


NOISE = normal(2, BATCH, FRAMES // 2, len(STEPS.nominal) + 1, 2, *LATENT)
WEIGHT = normal(4, BATCH, FRAMES, *LATENT)


@functools.cache
def made(memory: str):
    student = Student(PRESET.dit, memory=MEMORIES[memory])
    run = jax.jit(lambda last: rollout(student, PARAMS, conditions(), NOISE, last, STEPS, SCHEDULE))
    return student, run(jnp.int32(LAST))


def sequential(student: Student, params, memory_of_chunks) -> jax.Array:
    """Σ over chunks of weight·x₀.

    Each chunk is made by the live stream's own pass on stopped caches; the text is computed again.
    """
    t, sigma = (jnp.asarray(column)[LAST] for column in STEPS.table)
    given = conditions()
    text = prefill(
        student,
        params,
        given.context,
        given.context_ids(),
        given.text,
        student.init_caches(BATCH, *LATENT[:2]),
    ).text
    total = 0.0
    for chunk, (caches, x_t) in enumerate(memory_of_chunks):
        caches = jax.lax.stop_gradient(caches).replace(text=text)
        v, _ = student.apply(
            {"params": params}, x_t, jnp.full(BATCH, t), given.shot_ids(2), caches, method="denoise"
        )
        total += jnp.sum((x_t - sigma * v) * WEIGHT[:, 2 * chunk : 2 * chunk + 2])
    return total


def walked(student: Student, result) -> list:
    """The caches that each chunk saw in the rollout, made again step by step, and its x_t."""
    given, seen = conditions(), []
    caches = student.init_caches(BATCH, *LATENT[:2])
    caches = prefill(student, PARAMS, given.context, given.context_ids(), given.text, caches)
    for chunk in range(FRAMES // 2):
        part = slice(2 * chunk, 2 * chunk + 2)
        seen.append((jax.tree.map(jnp.copy, caches), result.x_t[:, part]))
        noised = SCHEDULE.add_noise(result.x_0[:, part], NOISE[:, chunk, -1], jnp.zeros(BATCH))
        caches = commit(student, PARAMS, noised, given.shot_ids(2), caches)
    return seen


@pytest.mark.parametrize("memory", MEMORIES)
def test_parallel_gradient_is_the_sequential_one(memory):
    student, result = made(memory)
    parallel = lambda params: jnp.sum(  # noqa: E731
        replay(student, params, conditions(), result, jnp.int32(LAST), STEPS) * WEIGHT
    )
    one_by_one = functools.partial(sequential, student, memory_of_chunks=walked(student, result))
    (value, got), (want_value, want) = (
        jax.jit(jax.value_and_grad(f))(PARAMS) for f in (parallel, one_by_one)
    )
    np.testing.assert_allclose(value, want_value, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, float(jnp.abs(b).max())))
    assert all(
        np.any(g) for g in (got["text_in"]["kernel"], got["blocks"]["cross_attn"]["k"]["kernel"])
    )


@pytest.mark.parametrize("memory", MEMORIES)
def test_replay_repeats_the_rollout(memory):
    student, result = made(memory)
    x_0 = jax.jit(lambda: replay(student, PARAMS, conditions(), result, jnp.int32(LAST), STEPS))()
    np.testing.assert_allclose(x_0, result.x_0, atol=2e-5)


def test_a_cache_longer_than_its_frames_changes_nothing(monkeypatch):
    student, want = made("all")
    monkeypatch.setattr(
        student_module, "cache_slots", lambda tokens, _: splash.whole_blocks(tokens)
    )
    got = jax.jit(lambda: rollout(student, PARAMS, conditions(), NOISE, LAST, STEPS, SCHEDULE))()
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), got, want)


@pytest.mark.parametrize("memory", ["all", "sinks"])
def test_a_gpus_layout_changes_nothing(memory, monkeypatch):
    student, want = made(memory)
    monkeypatch.setattr(student_module, "cache_tokens_first", lambda *_: True)
    got = jax.jit(lambda: rollout(student, PARAMS, conditions(), NOISE, LAST, STEPS, SCHEDULE))()
    np.testing.assert_allclose(got.x_0, want.x_0, atol=1e-5)
    # The same keys and values, with tokens before heads.
    turned = got.past.keys.swapaxes(2, 3)
    assert got.past.tokens_first and turned.shape == want.past.keys.shape
    np.testing.assert_allclose(turned, want.past.keys, atol=1e-5)
    x_0 = jax.jit(lambda: replay(student, PARAMS, conditions(), got, jnp.int32(LAST), STEPS))()
    np.testing.assert_allclose(x_0, got.x_0, atol=2e-5)


def test_a_full_rollout_is_the_generation():
    """All steps, without the noise of the commits: what the live stream makes."""
    student = Student(PRESET.dit, memory=MEMORIES["sinks"])
    quiet = Schedule(steps=100_000)  # its lowest σ is 8e-5
    last = len(STEPS.nominal) - 1
    got = jax.jit(
        lambda: (
            rollout(
                student, PARAMS, conditions(), NOISE.at[:, :, -1].set(0), last, STEPS, quiet
            ).x_0
        )
    )()
    given, chunks = conditions(), []
    caches = student.init_caches(BATCH, *LATENT[:2])
    caches = prefill(student, PARAMS, given.context, given.context_ids(), given.text, caches)
    for chunk in range(FRAMES // 2):
        noise = jnp.moveaxis(NOISE[:, chunk, :-1], 1, 0)
        x_0, caches = chunk_step(student, PARAMS, noise, given.shot_ids(2), caches, STEPS)
        chunks.append(x_0)
        caches = commit(student, PARAMS, x_0, given.shot_ids(2), caches)
    np.testing.assert_allclose(got, jnp.concatenate(chunks, axis=1), atol=2e-3)
    np.testing.assert_allclose(got[:, :2], chunks[0], atol=1e-5)  # before the first commit: exactly
