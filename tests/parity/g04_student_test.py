"""Group 4: the student's whole-sequence form, outputs, who sees whom, gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.groups import causal_groups
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.memory.window import MemoryConfig
from tests.parity.reference import (
    CHUNK,
    CONFIG,
    DIT,
    arrays,
    dit_public,
    gradient_cases,
    gradients,
    ids,
    video_last,
    weights,
    window_sizes,
)

DATA = arrays("g04_student_train.npz")
FLAGS, EMBEDS = DATA["in/flags"], jnp.asarray(DATA["in/embeds"])[None]
MASK = re.compile(r"cond(\d+)_gen(\d+)_block(\d+)_local(-?\d+|None)_sink(\d+|None)")
LEFTOVER = (
    "a frame count that is not a multiple of the chunk breaks the reference's mask; ours refuses it"
)
ODD_WINDOW = "the reference ignores windows without sinks, and odd sinks"


def not_reproduced(case: str) -> str | None:
    """Why docs/method.md, section 6 leaves a case out; None for a case that is reproduced."""
    if "leftover" in case:
        return LEFTOVER
    sizes = MASK.fullmatch(case)
    if sizes is None:
        return None
    _, frames, chunk, window, sinks = sizes.groups()
    if int(frames) % int(chunk):
        return LEFTOVER
    if window == "-1":
        return ODD_WINDOW
    if window != "None" and (sinks == "None" or int(sinks) % int(chunk)):
        return ODD_WINDOW
    return None


def skippable(cases: list[str]) -> list:
    """The cases; those that are not reproduced are marked as skipped."""
    found = []
    for case in cases:
        reason = not_reproduced(case)
        if reason is None:
            found.append(case)
        else:
            found.append(pytest.param(case, marks=pytest.mark.skip(reason=reason)))
    return found


OUTPUTS = [k.split("/")[1] for k in DATA if re.match(r"out/\w+/flow_pred", k)]
MASKS = [k.removeprefix("out/mask/") for k in DATA if k.startswith("out/mask/")]


def memory_of(case: str) -> MemoryConfig:
    return MemoryConfig(context=CONFIG["cond"], chunk=CHUNK, **window_sizes(case))


def inputs(case: str):
    phase = np.zeros_like(FLAGS) if "noflags" in case else FLAGS
    frame_ids, text = (
        (ids(phase, FLAGS), EMBEDS) if "multi" in case else (ids(phase), EMBEDS[:, :1])
    )
    return video_last(DATA["in/x"]), jnp.asarray(DATA["in/timestep"]), frame_ids, text


def frame_mask(memory: MemoryConfig, frames: int) -> np.ndarray:
    """The groups as a matrix: row = query frame, 1 = may attend."""
    mask = np.zeros((memory.context + frames,) * 2, np.uint8)
    for group in causal_groups(memory, frames, tokens=1):
        for seen in (group.own, *group.past):
            mask[group.queries, seen] = 1
    return mask


@pytest.mark.parametrize("case", skippable(OUTPUTS), ids=lambda case: f"g04-{case}")
def test_outputs(case, close):
    student = Student(DIT, memory=memory_of(case))
    x, t, frame_ids, text = inputs(case)
    v = jax.jit(student.apply)({"params": weights("dit", "generator")}, x, t, frame_ids, text)
    close(v, video_last(DATA[f"out/{case}/flow_pred"]), "flow")
    close(Schedule().velocity_to_x0(v, x, t), video_last(DATA[f"out/{case}/pred_x0"]), "x0")
    mask = frame_mask(student.memory, x.shape[1] - student.memory.context)
    assert np.array_equal(mask, DATA[f"out/{case}/frame_mask"])


@pytest.mark.parametrize("case", skippable(MASKS), ids=lambda case: f"g04-mask-{case}")
def test_masks(case):
    context, frames, chunk, window, sinks = (
        None if n == "None" else int(n) for n in MASK.fullmatch(case).groups()
    )
    memory = MemoryConfig(
        context=context, chunk=chunk, window=window or MemoryConfig.window, sinks=sinks or 0
    )
    assert np.array_equal(frame_mask(memory, frames), DATA[f"out/mask/{case}"])


@pytest.mark.parametrize(
    "case", gradient_cases("g04_student_train"), ids=lambda case: f"g04-gradients-{case}"
)
def test_gradients(case, close_gradients):
    student, proj = Student(DIT, memory=memory_of(case)), video_last(DATA["in/proj"])
    loss = lambda params: jnp.sum(student.apply({"params": params}, *inputs(case)) * proj)  # noqa: E731
    grads = jax.jit(jax.grad(loss))(jax.tree.map(jnp.asarray, weights("dit", "generator")))
    close_gradients(dit_public(grads), gradients(f"g04_student_train__{case}"))


def test_a_broken_chunk_is_refused():
    x, t, frame_ids, text = inputs("a_global_multi")
    cut = jax.tree.map(lambda a: a[:, :-1], (x, t, frame_ids))
    with pytest.raises(InputError, match=f"not a multiple of the chunk, {CHUNK}"):
        Student(DIT, memory=memory_of("a_global_multi")).apply(
            {"params": weights("dit", "generator")}, *cut, text
        )
