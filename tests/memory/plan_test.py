"""The conditioning rule, and that all three users of it condition a shot in the same way."""

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.data.records import ClipRecord
from shotstream_jax.data.rows import condition_row
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate.conditions import next_shot_conditions
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.plan import EMPTY, plan_shot
from shotstream_jax.memory.select import ContextPick, candidates, shot_intervals
from shotstream_jax.testing import tiny_preset
from shotstream_jax.train.stages.dmd_inter import plan_story, story_conditions

PRESET = tiny_preset()
BUDGET = PRESET.memory.context
LENGTH = 10  # pixel frames of a shot
SHOTS = BUDGET + 3  # more than are remembered


def test_the_worked_example():
    """C = 4, after two shots of 10 frames."""
    plan = plan_shot([(0, 10), (10, 20)], budget=4)
    assert plan.number == 2
    assert plan.frames.tolist() == [0, 9, 10, 19]
    assert plan.shots.tolist() == [0, 0, 1, 1]
    assert plan.phase.tolist() == [0, 0, 1, 1, 2]
    assert plan.caption.tolist() == [0, 0, 1, 1, 2]
    assert plan.slots.tolist() == [0, 1, 2, EMPTY, EMPTY]
    assert {values.dtype for values in plan} == {np.dtype(np.int32)}


def test_a_first_shot():
    """It has phase 1, and reads its own caption in slot 0, as its context of zeros does."""
    plan = plan_shot([], budget=3)
    assert plan.number == 0
    assert plan.frames.tolist() == [0, 0, 0]
    assert plan.shots.tolist() == [0, 0, 0]
    assert plan.phase.tolist() == [0, 0, 0, 1]
    assert plan.caption.tolist() == [0, 0, 0, 0]
    assert plan.slots.tolist() == [0, EMPTY, EMPTY, EMPTY]


def test_more_shots_than_context_frames():
    """Five shots behind and three frames: the last three shots give one frame each."""
    plan = plan_shot(shot_intervals([10] * 5), budget=3)
    assert plan.number == 5
    assert plan.frames.tolist() == [20, 30, 40]
    assert plan.shots.tolist() == [2, 3, 4]
    assert plan.phase.tolist() == [2, 3, 4, 5]
    assert plan.caption.tolist() == [0, 1, 2, 3]
    assert plan.slots.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("budget", [1, 3, 6])
def test_the_last_shots_are_enough(budget):
    """A stream that passes only its last C shots gets the plan of all shots."""
    intervals = shot_intervals([7, 30, 1, 12, 25, 9, 81, 4])
    for number in range(1, len(intervals) + 1):
        oldest = max(number - budget, 0)
        whole = plan_shot(intervals[:number], budget)
        last = plan_shot(intervals[oldest:number], budget, first_shot=oldest)
        for of_all, of_last in zip(whole, last, strict=True):
            np.testing.assert_array_equal(of_last, of_all)


@pytest.mark.parametrize("number", range(SHOTS))
def test_streaming_data_and_self_made_history_agree(number):
    """One story in all three ways: the same ids, captions in the slots, and context."""
    record = _clip()
    story = _story(record, number)
    plan = story.plan_next()
    streamed = next_shot_conditions(
        PRESET,
        story,
        record.captions[number],
        pins=(),
        remembered=ContextPick(plan.frames, plan.shots),
        embed=lambda told: _caption(record, told.shot),
    )
    row = condition_row(record, number, BUDGET, lambda record, shot: record.text[shot])
    own = story_conditions(
        history=jnp.asarray(_history(record)),
        captions=jnp.stack([jnp.asarray(text) for text in record.text])[None],
        plan=plan_story(SHOTS, LENGTH, BUDGET)[number],
    )
    _assert_same(own, streamed)
    for of_row, of_stream in zip(_arrays(row), _arrays(streamed), strict=True):
        np.testing.assert_array_equal(of_row[None], of_stream)
    assert number == 0 or np.all(np.any(row.context, axis=(1, 2, 3)))


def _clip() -> ClipRecord:
    """A clip of random latents and captions; each kept frame's latent is unlike all others."""
    rng = np.random.default_rng(0)
    latent = (*PRESET.latent_grid(PRESET.video), PRESET.dit.channels)
    intervals = shot_intervals([LENGTH] * SHOTS)
    kept = [candidates(k, first, LENGTH, BUDGET) for k, (first, _) in enumerate(intervals)]

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return ClipRecord(
        name="clip",
        global_caption="G.",
        captions=tuple(f"c{k}" for k in range(SHOTS)),
        shots=np.asarray(intervals),
        targets=[normal(2, *latent) for _ in range(SHOTS)],
        frames=kept,
        context=[normal(len(frames), *latent) for frames in kept],
        text=[normal(PRESET.dit.text_len, PRESET.dit.text_dim) for _ in range(SHOTS)],
        masks=[],
    )


def _caption(record: ClipRecord, shot: int) -> jnp.ndarray:
    """A shot's embedding, [1, l, e]."""
    return jnp.asarray(record.text[shot][None])


def _story(record: ClipRecord, number: int) -> Story:
    """The clip as a live story that has made its first `number` shots."""
    story = Story(record.global_caption, 0, PRESET.name, PRESET.video, BUDGET)
    for shot in range(number):
        first, _ = record.shots[shot]
        story = story.add(
            ShotRecord(
                number=shot,
                caption=record.captions[shot],
                first_frame=int(first),
                length=LENGTH,
                frames=record.frames[shot],
                latents=tuple(jnp.asarray(record.context[shot][:, None])),
            )
        )
    return story


def _history(record: ClipRecord) -> np.ndarray:
    """The clip's kept latents as stage 4 holds them, [1, shots, kept, h, w, c]."""
    most = max(len(frames) for frames in record.frames)
    history = np.zeros((1, SHOTS, most, *record.context[0].shape[1:]), np.float32)
    for shot, latents in enumerate(record.context):
        history[0, shot, : len(latents)] = latents
    return history


def _arrays(conditions: Conditions) -> list[np.ndarray]:
    """Context, phase, caption slots and captions."""
    ids = conditions.ids
    values = (conditions.context, ids.phase, ids.caption, conditions.text)
    return [np.asarray(value) for value in values]


def _assert_same(a: Conditions, b: Conditions) -> None:
    for one, other in zip(_arrays(a), _arrays(b), strict=True):
        np.testing.assert_array_equal(one, other)
