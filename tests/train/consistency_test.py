"""The second way to a student: an autoregressive teacher, then consistency distillation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.conditions import Dropped
from shotstream_jax.dit.forcing import Forced
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import FewSteps, Schedule
from shotstream_jax.generate.sampler import Guidance
from shotstream_jax.train.losses.consistency import (
    ConsistencyConfig,
    ConsistencyParams,
    consistency_error,
    consistency_loss,
    level_weights,
    noise_levels,
)
from shotstream_jax.train.losses.teacher_forcing import ForcingDraws, forcing_loss
from shotstream_jax.train.setup import to_devices
from tests.dit.forcing_test import streamed
from tests.train.runs import in_process
from tests.train.stages_test import BATCH, FRAMES, PRESET, begin, make, rows, weights

MEMORY = PRESET.memory
FORCED = Forced(PRESET.dit, memory=MEMORY)
STEPS = FewSteps(shift=4.0)
KEPT = Dropped(jnp.zeros(BATCH, bool), jnp.zeros(BATCH, bool))


# ── The loss of the teacher ────────────────────────────────────────────────────────────────────


def by_stream(params, conditions, x_0, x_t, t):
    """The velocity of every chunk (times [b, chunks]) by the stream's passes."""
    student = Student(PRESET.dit, memory=MEMORY)
    x = jnp.concatenate([conditions.context, x_0], axis=1)
    ids = conditions.frame_ids(x_0.shape[1])
    return streamed({"params": params}, student, x, x_t, t, ids, conditions.text)


def material(entries: int):
    """A batch of shots with conditions, and draws among so many entries."""
    batch = jax.tree.map(jnp.asarray, rows("causal_teacher"))
    generator = np.random.default_rng(3)
    entry = generator.integers(0, entries, (BATCH, FRAMES // MEMORY.chunk)).astype(np.int32)
    noise = generator.standard_normal(batch.target.shape).astype(np.float32)
    return batch, ForcingDraws(entry, jnp.asarray(noise), KEPT)


def same_value_and_gradient(loss, reference, params):
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    wanted, wanted_gradient = jax.jit(jax.value_and_grad(reference))(params)
    assert wanted > 0.01
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted_gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4 * np.abs(b).max() + 1e-7)


def test_the_teachers_loss_by_hand():
    """Value and gradient, chunk by chunk through the stream's caches."""
    schedule = Schedule(shift=4.0)
    batch, draws = material(schedule.steps)
    w = 1 + 3 * batch.mask
    t = schedule.times[draws.entry]  # [b, chunks]
    by_frame = np.repeat(draws.entry, MEMORY.chunk, axis=1)
    sigma = schedule.sigmas[by_frame][..., None, None, None]
    x_t = (1 - sigma) * batch.target + sigma * draws.noise
    # What an error counts for: its story's share of the weights, and its frame's time.
    share = np.stack([story / story.mean() for story in np.asarray(w)])
    share = share[..., None] * schedule.weights[by_frame][..., None, None, None]

    def reference(params):
        v = by_stream(params, batch.conditions, batch.target, x_t, jnp.asarray(t))
        return jnp.mean(share * (v - (draws.noise - batch.target)) ** 2)

    def loss(params, time_weight=True):
        shot = (batch.target, batch.conditions)
        return forcing_loss(FORCED, schedule, params, *shot, draws, w, time_weight)

    params = weights(1)["dit"]
    same_value_and_gradient(loss, reference, params)
    # Where all noise levels count alike, times do not.
    share = share / schedule.weights[by_frame][..., None, None, None]
    plain = jax.jit(loss, static_argnames="time_weight")(params, time_weight=False)
    np.testing.assert_allclose(plain, reference(params), rtol=1e-5)


# ── The loss of the student ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pieces", [1, 4, 12])
def test_the_students_times_are_among_the_levels(pieces):
    levels = noise_levels(STEPS, pieces)
    assert len(levels) == 4 * pieces + 1 and levels[-1] == 0
    np.testing.assert_array_equal(levels[:-1:pieces], STEPS.table[1])
    inverse = 1 / (levels[:-1] - levels[1:])
    np.testing.assert_allclose(level_weights(levels), inverse / inverse.mean(), rtol=1e-4)


def test_levels_that_are_too_many():
    with pytest.raises(InputError, match=r"pieces 12: the student's steps .* are too short"):
        noise_levels(FewSteps((1000, 995)), 12)
    with pytest.raises(InputError, match=r"consistency.pieces 0 "):
        ConsistencyConfig(pieces=0)


def test_the_students_loss_by_hand():
    """Value and gradient, chunk by chunk, with both kinds of guidance and the clean end."""
    config = ConsistencyConfig(Guidance(text=1.5, context=2.0), pieces=2)
    levels = noise_levels(STEPS, 2)
    batch, draws = material(len(levels) - 1)
    # The last level is drawn too: the teacher's step ends at σ = 0.
    draws.entry[0, 0] = len(levels) - 2
    x_0, conditions = batch.target, batch.conditions
    average, teacher = weights(2)["dit"], weights(3)["dit"]
    negative = jnp.full((1, PRESET.dit.text_len, PRESET.dit.text_dim), 0.3)

    # What the student should see, from the level after: [b, chunks] times, then frame by frame.
    here, there = (levels[draws.entry + step] for step in (0, 1))
    sigma, after = (
        np.repeat(s, MEMORY.chunk, axis=1)[..., None, None, None] for s in (here, there)
    )
    x_n = (1 - sigma) * x_0 + sigma * draws.noise
    prompts = (conditions, conditions.under_one_prompt(negative), conditions.without_context())
    own, other, alone = (by_stream(teacher, c, x_0, x_n, jnp.asarray(1000 * here)) for c in prompts)
    moved = x_n + (after - sigma) * (own + 1.5 * (own - other) + 2.0 * (own - alone))
    v = by_stream(average, conditions, x_0, moved, jnp.asarray(1000 * there))
    end = jnp.where(after == 0, moved, moved - after * v)
    inverse = 1 / (levels[:-1] - levels[1:])
    weight = (inverse / inverse.mean())[np.repeat(draws.entry, MEMORY.chunk, axis=1)]

    def reference(params):
        v = by_stream(params, conditions, x_0, x_n, jnp.asarray(1000 * here))
        return jnp.mean(weight[..., None, None, None] * (x_n - sigma * v - end) ** 2)

    def loss(params):
        three = ConsistencyParams(params, average, teacher)
        return consistency_loss(FORCED, STEPS, config, three, x_0, conditions, negative, draws)

    same_value_and_gradient(loss, reference, weights(1)["dit"])


# A flow that is known: shots are N(MEAN, SPREAD²) in every number, so a path from noise to a shot
# is a straight rule: v = slope·x + offset, and so is every Euler step along it.
MEAN, SPREAD = 2.0, 0.5


def exact_velocity(x, sigma):
    """E[ε − x₀ | x] of that flow; sigma [b, f]."""
    sigma = sigma[..., None, None, None]
    mean, variance = (1 - sigma) * MEAN, (1 - sigma) ** 2 * SPREAD**2 + sigma**2
    slope = (sigma - (1 - sigma) * SPREAD**2) / variance
    return slope * (x - mean) - MEAN


def table_velocity(table, levels, x, sigma):
    """A student that has a rule x₀ = table[0]·x + table[1] for each level."""
    entry = jnp.argmin(jnp.abs(sigma[..., None] - levels.reshape(1, 1, -1)), axis=-1)
    slope, offset = (table[i, entry][..., None, None, None] for i in (0, 1))
    sigma = jnp.maximum(sigma, 1e-6)[..., None, None, None]
    return (x - (slope * x + offset)) / sigma


def test_an_exact_flow_is_learned_to_its_end():
    """Steps of the loss reach the end of the Euler path from every level, and stay there."""
    levels = noise_levels(STEPS, 2)
    n = len(levels) - 1
    x_0 = MEAN + SPREAD * jax.random.normal(jax.random.key(0), (64, n, 2, 2, 1))
    noise = jax.random.normal(jax.random.key(1), x_0.shape)
    entry = jnp.broadcast_to(jnp.arange(n), x_0.shape[:2])  # every level in every story

    def loss(table, average):
        student, target = (
            functools.partial(table_velocity, t, jnp.asarray(levels)) for t in (table, average)
        )
        return consistency_error(student, target, exact_velocity, levels, x_0, noise, entry)

    # The end of the path from each level, by the Euler steps that lead there.
    wanted = np.zeros((2, n + 1), np.float32)
    wanted[:, n] = (1.0, 0.0)
    for i in reversed(range(n)):
        at = np.full((1, 1), levels[i], np.float32)
        ends = exact_velocity(np.float32([0, 1]).reshape(2, 1, 1, 1, 1), at).ravel()
        slope, offset = ends[1] - ends[0], ends[0]
        step = levels[i + 1] - levels[i]
        wanted[0, i] = wanted[0, i + 1] * (1 + step * slope)
        wanted[1, i] = wanted[0, i + 1] * step * offset + wanted[1, i + 1]
    assert loss(jnp.asarray(wanted), jnp.asarray(wanted)) < 1e-9

    adam = optax.adam(0.02)

    def step(carry, _):
        table, average, state = carry
        updates, state = adam.update(jax.grad(loss)(table, average), state)
        table = optax.apply_updates(table, updates)
        return (table, 0.9 * average + 0.1 * table, state), None

    start = jnp.zeros_like(wanted)
    carry = (start, start, adam.init(start))
    (table, *_), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, 3000))(carry)
    np.testing.assert_allclose(table[:, :n], wanted[:, :n], atol=5e-3)


# ── Steps and runs ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["causal_teacher", "consistency"])
def test_one_batch_is_learned(name):
    """The same batch, draws and all: the loss falls to less than half."""
    stage = make(name, "one")
    with jax.set_mesh(stage.setup.mesh):
        state, fixed = begin(stage)
        batch = to_devices(stage.setup.mesh, rows(name), BATCH)
        losses = []
        for _ in range(60):
            state, metrics = stage.step(0, state, fixed, batch)
            losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("name", ["causal_teacher", "consistency"])
@pytest.mark.usefixtures("one_device", "programs_are_kept")
def test_a_run_goes_on_to_the_same_bits(name, material, tmp_path, stopped_after):
    """Three steps, stopped after one of them, with averages, samples and held-out losses."""
    fields = ("start.scratch=false", "trained.ema=0.5", "run.steps=3", "run.held_out_every=1")
    fields += ("run.sample_every=3",)
    if name == "causal_teacher":
        fields += ("sampler.steps=2",)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    in_process(name, material, whole, *fields)
    stopped_after(1, in_process, name, material, halves, *fields)
    in_process(name, material, halves, *fields)
    params = [open_checkpoint(run / "model").load_params("dit") for run in (whole, halves)]
    jax.tree.map(np.testing.assert_array_equal, *params)
    assert (whole / "samples" / "step_000003.mp4").stat().st_size > 500
