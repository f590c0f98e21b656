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
    gradients,
    ids,
    video_last,
    weights,
)

DATA = arrays("g10_ode.npz")
COND, FLAGS = CONFIG["cond"], DATA["out/shot_flags_for_rope"]
TEXT = jnp.asarray(DATA["out/prompt_embeds"])[None]
CONDITIONS = Conditions(
    video_last(DATA["out/condition_latents"]), ids(FLAGS[: COND + 1], FLAGS[: COND + 1]), TEXT
)
KEPT = ("0_input", "13_input", "25_input", "37_input", "pred_x0")
MEMORIES = {
    "reg": MemoryConfig(context=COND, chunk=CHUNK),
    "reg2_local6_sink3": MemoryConfig(context=COND, chunk=CHUNK, window=6, sinks=3),
}


@functools.cache
def made():
    schedule = Schedule(steps=50)
    negative = jnp.asarray(DATA["out/negative_embeds"])
    fixed = Teacher(DIT), schedule, FEW_STEPS
    run = jax.jit(
        lambda params, noise: sample_trajectory(
            *fixed, params, CONDITIONS, negative, noise, Guidance(text=5.0)
        )
    )
    return run(weights("dit", "teacher"), video_last(DATA["in/noise000"]))


@pytest.mark.parametrize("case", KEPT, ids=lambda case: f"g10-{case}")
def test_trajectory(case, close):
    close(made()[:, KEPT.index(case)], video_last(DATA[f"out/{case}"]), case)


@pytest.mark.parametrize("case", ["times"], ids=lambda case: f"g10-{case}")
def test_kept_times_are_the_students(case, close):
    schedule = Schedule(steps=50)
    close(schedule.times, DATA["out/timesteps"], "times")
    assert kept_steps(schedule, FEW_STEPS) == (0, 13, 25, 37)
    close(
        schedule.times[list(kept_steps(schedule, FEW_STEPS))],
        FEW_STEPS.table[0],
        "the student's times",
    )


@pytest.mark.parametrize("case", MEMORIES, ids=lambda case: f"g10-{case}")
def test_regression(case, close, close_gradients):
    student, schedule = Student(DIT, memory=MEMORIES[case]), Schedule()
    saved = np.moveaxis(DATA["out/latent_all"], 3, -1)  # [b, kept, f, h, w, c]
    entry = DATA[f"out/{case}/index"][:, ::CHUNK]  # one a chunk: its first frame's
    batch = PairBatch(jnp.asarray(saved), CONDITIONS)
    draws = RegressionDraws(jnp.asarray(entry), Dropped(jnp.zeros(1, bool), jnp.zeros(1, bool)))
    loss = lambda params: regression_loss(student, FEW_STEPS, schedule, params, batch, draws)  # noqa: E731
    value, grads = jax.jit(jax.value_and_grad(loss))(
        jax.tree.map(jnp.asarray, weights("dit", "generator"))
    )
    close(value, DATA[f"out/{case}/loss"], "loss")
    close_gradients(dit_public(grads), gradients(f"g10_ode__{case}"))
    times = np.append(FEW_STEPS.table[0], 0)[np.repeat(entry, CHUNK, 1)]
    close(times.sum() / (COND + times.shape[1]), DATA[f"out/{case}/timestep_mean"][0], "mean time")


@pytest.mark.parametrize("case", ["all-clean"], ids=lambda case: f"g10-{case}")
def test_no_noisy_chunk_no_loss(case):
    """If every chunk drew x₀ itself the loss is 0, and so is its gradient."""
    student, schedule = Student(DIT, memory=MEMORIES["reg"]), Schedule()
    batch = PairBatch(jnp.asarray(np.moveaxis(DATA["out/latent_all"], 3, -1)), CONDITIONS)
    draws = RegressionDraws(jnp.full((1, 2), 4), Dropped(jnp.zeros(1, bool), jnp.zeros(1, bool)))
    params = jax.tree.map(jnp.asarray, weights("dit", "generator"))
    value, grads = jax.jit(
        jax.value_and_grad(lambda p: regression_loss(student, FEW_STEPS, schedule, p, batch, draws))
    )(params)
    assert value == 0 and all(not np.any(g) for g in jax.tree.leaves(grads))
    clean = student_x0(
        student, schedule, params, CONDITIONS, batch.trajectory[:, -1], jnp.zeros((1, CONFIG["F"]))
    )
    assert np.abs(clean - batch.trajectory[:, -1]).max() > 0
