"""Group 10: the teacher's trajectories under guidance, and the student's regression on them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit.conditions import Conditions, Dropped
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.sampler import Guidance, kept_steps, sample_trajectory
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.train.losses.ode_regression import (
    PairBatch,
    RegressionDraws,
    regression_loss,
    student_x0,
)
from tests.parity.reference import (
    CHUNK,
    CONFIG,
    DIT,
    FEW_STEPS,
    arrays,
    dit_public,
    gradient_cases,
    gradients,
    ids,
    kept_step_numbers,
    video_last,
    weights,
    window_sizes,
)

DATA = arrays("g10_ode.npz")
COND, FLAGS = CONFIG["cond"], DATA["out/shot_flags_for_rope"]
TEXT = jnp.asarray(DATA["out/prompt_embeds"])[None]
CONDITIONS = Conditions(
    video_last(DATA["out/condition_latents"]), ids(FLAGS[: COND + 1], FLAGS[: COND + 1]), TEXT
)
SAMPLING = Schedule(steps=len(DATA["out/timesteps"]))
TRAJECTORY = jnp.asarray(np.moveaxis(DATA["out/latent_all"], 3, -1))  # [b, kept, f, h, w, c]
BATCH, KEPT, FRAMES = TRAJECTORY.shape[:3]
# The solver's steps whose inputs are kept, and the names of all that is kept.
KEPT_STEPS = kept_step_numbers(DATA)
KEPT_NAMES = (*[f"{step}_input" for step in KEPT_STEPS], "pred_x0")
REGRESSIONS = gradient_cases("g10_ode")
NONE = Dropped(jnp.zeros(BATCH, bool), jnp.zeros(BATCH, bool))


def student_of(case: str) -> Student:
    return Student(DIT, memory=MemoryConfig(context=COND, chunk=CHUNK, **window_sizes(case)))


@functools.cache
def made():
    """The teacher's trajectory, [b, kept, f, h, w, c]."""
    negative = jnp.asarray(DATA["out/negative_embeds"])
    fixed = Teacher(DIT), SAMPLING, FEW_STEPS

    @jax.jit
    def run(params, noise):
        guidance = Guidance(text=5.0)
        return sample_trajectory(*fixed, params, CONDITIONS, negative, noise, guidance)

    return run(weights("dit", "teacher"), video_last(DATA["in/noise000"]))


@pytest.mark.parametrize("case", KEPT_NAMES, ids=lambda case: f"g10-{case}")
def test_trajectory(case, close):
    assert made().shape == TRAJECTORY.shape
    close(made()[:, KEPT_NAMES.index(case)], video_last(DATA[f"out/{case}"]), case)


@pytest.mark.parametrize("case", ["times"], ids=lambda case: f"g10-{case}")
def test_kept_times_are_the_students(case, close):
    close(SAMPLING.times, DATA["out/timesteps"], "times")
    assert kept_steps(SAMPLING, FEW_STEPS) == KEPT_STEPS
    close(SAMPLING.times[list(KEPT_STEPS)], FEW_STEPS.table[0], "the student's times")


def loss_and_gradients(case: str, entry: np.ndarray):
    """entry [b, chunks]: the point of the trajectory that each chunk sees."""
    batch = PairBatch(TRAJECTORY, CONDITIONS)
    draws = RegressionDraws(jnp.asarray(entry), NONE)

    def loss(params):
        return regression_loss(student_of(case), FEW_STEPS, Schedule(), params, batch, draws)

    params = jax.tree.map(jnp.asarray, weights("dit", "generator"))
    return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.parametrize("case", REGRESSIONS, ids=lambda case: f"g10-{case}")
def test_regression(case, close, close_gradients):
    entry = DATA[f"out/{case}/index"][:, ::CHUNK]  # one a chunk: its first frame's
    value, grads = loss_and_gradients(case, entry)
    close(value, DATA[f"out/{case}/loss"], "loss")
    close_gradients(dit_public(grads), gradients(f"g10_ode__{case}"))
    times = np.append(FEW_STEPS.table[0], 0)[np.repeat(entry, CHUNK, 1)]
    close(times.sum() / (COND + times.shape[1]), DATA[f"out/{case}/timestep_mean"][0], "mean time")


@pytest.mark.parametrize("case", ["all-clean"], ids=lambda case: f"g10-{case}")
def test_no_noisy_chunk_no_loss(case):
    """If every chunk drew x₀ itself the loss is 0, and so is its gradient."""
    entry = np.full((BATCH, FRAMES // CHUNK), KEPT - 1)
    value, grads = loss_and_gradients("global", entry)
    assert value == 0 and all(not np.any(g) for g in jax.tree.leaves(grads))
    params = weights("dit", "generator")
    x_0, t = TRAJECTORY[:, -1], jnp.zeros((BATCH, FRAMES))
    predict = jax.jit(student_x0, static_argnums=(0, 1))
    clean = predict(student_of("global"), Schedule(), params, CONDITIONS, x_0, t)
    assert np.abs(clean - x_0).max() > 0
