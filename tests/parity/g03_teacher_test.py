"""Group 3: the bidirectional teacher, outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from tests.parity.reference import DIT, arrays, dit_public, gradients, ids, video_last, weights

DATA = arrays("g03_teacher.npz")
FLAGS, EMBEDS = DATA["in/flags"], jnp.asarray(DATA["in/embeds"])[None]
ONE, ALL = EMBEDS[:, :1], EMBEDS
CASES = {
    "a_plain": (ids(np.zeros_like(FLAGS)), ONE),
    "b_flags": (ids(FLAGS), ONE),
    "c_multi": (ids(FLAGS, FLAGS), ALL),
    "d_infer_t960": (ids(FLAGS, FLAGS), ALL),
}


@jax.jit
def velocity(params, x, t, ids, text):
    return Teacher(DIT).apply({"params": params}, x, t, ids, text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"g03-{case}")
def test_outputs(case, close):
    frame_ids, text = CASES[case]
    t = DATA["in/timestep_b"] if case.startswith("d_") else DATA["in/timestep"][:, 0]
    x = video_last(DATA["in/x"])
    v = velocity(weights("dit", "teacher"), x, jnp.asarray(t), frame_ids, text)
    close(v, video_last(DATA[f"out/{case}/flow_pred"]), "flow")
    if f"out/{case}/pred_x0" in DATA:
        x_0 = Schedule().velocity_to_x0(v, x, jnp.asarray(DATA["in/timestep"]))
        close(x_0, video_last(DATA[f"out/{case}/pred_x0"]), "x0")


@pytest.mark.parametrize("case", list(CASES)[:3], ids=lambda case: f"g03-gradients-{case}")
def test_gradients(case, close_gradients):
    frame_ids, text = CASES[case]
    x, proj, t = (
        video_last(DATA["in/x"]),
        video_last(DATA["in/proj"]),
        jnp.asarray(DATA["in/timestep"][:, 0]),
    )
    loss = lambda params: jnp.sum(velocity(params, x, t, frame_ids, text) * proj)  # noqa: E731
    grads = jax.jit(jax.grad(loss))(jax.tree.map(jnp.asarray, weights("dit", "teacher")))
    close_gradients(dit_public(grads), gradients(f"g03_teacher__{case}"))
