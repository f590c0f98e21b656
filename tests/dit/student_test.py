"""The causal student: cached passes equal the whole-sequence one, causality, batches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit import student as student_module
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import random_params
from shotstream_jax.nn import splash
from shotstream_jax.testing import DIT, tiny_preset

MEMORIES = {
    "global": MemoryConfig(context=4, chunk=2, window=20),
    "window": MemoryConfig(context=4, chunk=2, window=6),
    "sinks": MemoryConfig(context=4, chunk=2, window=6, sinks=2),
}
CHUNKS, H, W = 4, 4, 6
PARAMS = {"params": random_params(tiny_preset(), seed=1)["dit"]}


def story(batch: int, frames: int, seed: int = 0):
    """Latents of context and shot, ids with a discontinuity, and captions in all slots."""
    keys = jax.random.split(jax.random.key(seed), 3)
    x = jax.random.normal(keys[0], (batch, 4 + frames, H, W, DIT.channels))
    text = jax.random.normal(keys[1], (batch, 5, DIT.text_len, DIT.text_dim))
    phase = jnp.broadcast_to(jnp.array([0, 0, 1, 2] + [3] * frames), x.shape[:2])
    return x, FrameIds(phase, phase), text


def part(ids: FrameIds, first: int, stop: int) -> FrameIds:
    return jax.tree.map(lambda a: a[:, first:stop], ids)


@functools.cache
def passes(student: Student):
    return {
        m: jax.jit(functools.partial(student.apply, method=m))
        for m in ("prefill_context", "denoise", "commit")
    }


def run_cached(student: Student, x, ids, text, t: float) -> jnp.ndarray:
    """Velocity of every chunk at time t, each committed clean before the next."""
    run = passes(student)
    caches = run["prefill_context"](
        PARAMS, x[:, :4], part(ids, 0, 4), text, student.init_caches(x.shape[0], H, W)
    )
    out = []
    for first in range(4, x.shape[1], 2):
        chunk, chunk_ids = x[:, first : first + 2], part(ids, first, first + 2)
        v, caches = run["denoise"](PARAMS, chunk, jnp.full(x.shape[0], t), chunk_ids, caches)
        out.append(v)
        caches = run["commit"](PARAMS, chunk, chunk_ids, caches)
    return jnp.concatenate(out, axis=1)


def as_on_a_gpu(monkeypatch):
    """The cache with tokens before heads; a commit that runs the last layer's rest in vain."""
    monkeypatch.setattr(student_module, "cache_tokens_first", lambda *_: True)
    monkeypatch.setattr(student_module, "target_platform", lambda: "gpu")


@pytest.mark.parametrize("name", [*MEMORIES, "whole blocks", "a GPU's layout"])
def test_cached_is_whole(name, monkeypatch):
    """With every frame clean, one whole-sequence pass holds what each cached pass must give.

    Noisy times: parity, g05.
    """
    if name == "whole blocks":  # a cache longer than its frames, as heads of width 128 have it
        monkeypatch.setattr(
            student_module, "cache_slots", lambda tokens, _: splash.whole_blocks(tokens)
        )
        name = "sinks"
        assert Student(DIT, memory=MEMORIES[name]).init_caches(1, H, W).frames.keys.shape[3] == 128
    if name == "a GPU's layout":
        as_on_a_gpu(monkeypatch)
        name = "sinks"
        shape = Student(DIT, memory=MEMORIES[name]).init_caches(1, H, W).frames.keys.shape
        assert shape[3:] == (DIT.heads, DIT.head_dim)
    student = Student(DIT, memory=MEMORIES[name])
    x, ids, text = story(2, 2 * CHUNKS)
    whole = jax.jit(student.apply)(PARAMS, x, jnp.zeros(x.shape[:2]), ids, text)
    np.testing.assert_allclose(run_cached(student, x, ids, text, t=0.0), whole[:, 4:], atol=2e-5)


def test_repeated_denoising_leaves_no_trace():
    """A pass overwrites its own slot only: what was denoised there before changes nothing."""
    student = Student(DIT, memory=MEMORIES["sinks"])
    x, ids, text = story(1, 4)
    run = passes(student)
    caches = run["prefill_context"](
        PARAMS, x[:, :4], part(ids, 0, 4), text, student.init_caches(1, H, W)
    )
    chunk, chunk_ids = x[:, 4:6], part(ids, 4, 6)
    once, _ = run["denoise"](PARAMS, chunk, jnp.array([500.0]), chunk_ids, caches)
    _, touched = run["denoise"](PARAMS, 3 * chunk, jnp.array([1000.0]), chunk_ids, caches)
    again, _ = run["denoise"](PARAMS, chunk, jnp.array([500.0]), chunk_ids, touched)
    assert np.array_equal(once, again)


def test_a_new_shot_forgets_the_last():
    student = Student(DIT, memory=MEMORIES["window"])
    x, ids, text = story(1, 4)
    run = passes(student)
    fresh = run["prefill_context"](
        PARAMS, x[:, :4], part(ids, 0, 4), text, student.init_caches(1, H, W)
    )
    used = run["commit"](PARAMS, x[:, 4:6], part(ids, 4, 6), fresh)
    again = run["prefill_context"](PARAMS, x[:, :4], part(ids, 0, 4), text, used)
    assert again.fill.tolist() == [0]
    t = jnp.array([300.0])
    want, _ = run["denoise"](PARAMS, x[:, 6:8], t, part(ids, 6, 8), fresh)
    got, _ = run["denoise"](PARAMS, x[:, 6:8], t, part(ids, 6, 8), again)
    assert np.array_equal(want, got)


def influence(apply, x: jnp.ndarray) -> np.ndarray:
    """[output frame, input frame]: does the output depend on the input? By gradient."""

    def of_frame(x, frame):
        return jnp.sum(
            apply(x)[:, frame] * jnp.arange(1.0, 1 + x[0, 0].size).reshape(1, *x.shape[2:])
        )

    rows = jax.jit(jax.vmap(jax.grad(of_frame), (None, 0)))(x, jnp.arange(x.shape[1]))
    return np.abs(np.asarray(rows)).sum((1, 3, 4, 5)) > 0


def test_teacher_sees_everything():
    x, ids, text = story(1, 4)
    assert influence(
        lambda x: Teacher(DIT).apply(PARAMS, x, jnp.array([500.0]), ids, text), x
    ).all()


@pytest.mark.parametrize("name", MEMORIES)
def test_causality(name):
    """With one layer an output depends on just what its frame's group sees."""
    cfg, memory = dataclasses.replace(DIT, layers=1), MEMORIES[name]
    params = {"params": random_params(dataclasses.replace(tiny_preset(), dit=cfg), seed=1)["dit"]}
    x, ids, text = story(1, 2 * CHUNKS)
    apply = Student(cfg, memory=memory).apply
    seen = influence(lambda x: apply(params, x, jnp.full(x.shape[:2], 500.0), ids, text), x)
    want = np.zeros_like(seen)
    want[:, :4] = True
    for first in range(0, 2 * CHUNKS, 2):
        for r in (*memory.visible_past(first), slice(first, first + 2)):
            want[4 + first : 6 + first, 4 + r.start : 4 + r.stop] = True
    assert np.array_equal(seen, want)


def test_stories_in_a_batch_are_independent():
    """Two stories at different points of their shots give what each gives alone."""
    student, t = Student(DIT, memory=MEMORIES["sinks"]), jnp.array([400.0, 800.0])
    x, ids, text = story(2, 8)
    run = passes(student)

    def caches_after(rows: slice, chunks: int):
        xs, i = x[rows], jax.tree.map(lambda a: a[rows], ids)
        caches = run["prefill_context"](
            PARAMS, xs[:, :4], part(i, 0, 4), text[rows], student.init_caches(1, H, W)
        )
        for first in range(4, 4 + 2 * chunks, 2):
            caches = run["commit"](
                PARAMS, xs[:, first : first + 2], part(i, first, first + 2), caches
            )
        return caches

    alone = [caches_after(slice(0, 1), 1), caches_after(slice(1, 2), 3)]
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=a.ndim > 1), *alone)
    chunk, chunk_ids = x[:, -2:], part(ids, 10, 12)
    together, after = run["denoise"](PARAMS, chunk, t, chunk_ids, both)
    for i, caches in enumerate(alone):
        x_i, t_i, ids_i = jax.tree.map(lambda a, i=i: a[i : i + 1], (chunk, t, chunk_ids))
        v, own = run["denoise"](PARAMS, x_i, t_i, ids_i, caches)
        np.testing.assert_allclose(together[i], v[0], atol=1e-5)
        np.testing.assert_allclose(after.frames.keys[:, i], own.frames.keys[:, 0], atol=1e-5)


def test_the_shot_phase_matters_and_the_unread_caption_does_not():
    student = Student(DIT, memory=MEMORIES["global"])
    x, ids, text = story(1, 2)
    apply = jax.jit(student.apply)
    t = jnp.full((1, 6), 600.0)
    base = apply(PARAMS, x, t, ids, text)
    shifted = apply(PARAMS, x, t, ids.replace(phase=ids.phase.at[:, 4:].add(1)), text)
    assert np.abs(base - shifted)[:, 4:].max() > 1e-4
    assert np.array_equal(
        base, apply(PARAMS, x, t, ids, text.at[:, 4].set(7.0))
    )  # no frame points to slot 4
    assert np.abs(base - apply(PARAMS, x, t, ids, text.at[:, 3].set(7.0)))[:, 4:].max() > 1e-4


def test_without_the_discontinuity_shots_are_told_apart_by_their_captions_only():
    student = Student(dataclasses.replace(DIT, shot_phase=0.0), memory=MEMORIES["global"])
    x, ids, text = story(1, 2)
    apply, t = jax.jit(student.apply), jnp.full((1, 6), 600.0)
    one_shot = ids.replace(phase=jnp.zeros_like(ids.phase))
    assert np.array_equal(apply(PARAMS, x, t, ids, text), apply(PARAMS, x, t, one_shot, text))
