"""Several stories in turn, and side by side: each is the one that it is alone."""

import dataclasses

import numpy as np
import pytest

from shotstream_jax.generate.asked import Picture, Shot
from shotstream_jax.generate.pins import pin_frame
from shotstream_jax.generate.side_by_side import stream_stories
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.testing import tiny_model
from tests.generate.acts import Act, acts, perform, performed

MODEL = tiny_model()
CHUNK = MODEL.preset.memory.chunk
VIDEO = MODEL.preset.video
LONGER = dataclasses.replace(VIDEO, shot_frames=VIDEO.shot_frames + CHUNK)


@pytest.fixture(scope="module")
def begun() -> list[Story]:
    """Three stories after their first shot, the last one of longer shots."""
    stories = []
    for seed, video in ((1, VIDEO), (2, VIDEO), (3, LONGER)):
        story = new_story(MODEL, f"Story {seed}.", seed, video)
        stories.append(perform(MODEL, story, Act(f"it begins {seed}"))[1])
    return stories


@pytest.mark.parametrize("order", [0, 1])
def test_live_stories_in_any_order_are_those_alone(begun, order):
    """To the bit: pins, pictures, takes, lengths, cuts, captions in mid-shot."""
    parts = []
    for number, story in enumerate(begun):
        everything = acts(MODEL, story, number)
        # Each does other things than the others at the same time.
        parts.append(everything[4 * number :] + everything[: 4 * number])
    alone = [list(performed(MODEL, s, p)) for s, p in zip(begun, parts, strict=True)]
    running = [performed(MODEL, s, p) for s, p in zip(begun, parts, strict=True)]
    together = [[] for _ in begun]
    rng = np.random.default_rng(order)
    waiting = [0, 1, 2]
    while waiting:
        which = int(rng.choice(waiting))
        frames = next(running[which], None)
        if frames is None:
            waiting.remove(which)
        else:
            together[which].append(frames)
    for mine, other in zip(together, alone, strict=True):
        assert len(mine) == len(other)
        assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


def shots(story: Story, seed: int) -> list[str | Shot]:
    """Shots with everything that a Shot can say."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)
    first = pin_frame(story, 0, 0)
    return [
        Shot("it runs", take=seed),
        Shot("it stops", frames=CHUNK, pins=[first]),
        "it looks",
        Shot("it waves", frames=5 * CHUNK, pictures=[pixels, Picture(pixels, fit="pad")]),
        Shot("it ends", take=1, pins=[first]),
    ]


def test_mixed_stories_side_by_side_are_those_alone(begun):
    """Of different numbers and lengths of shots, one of them asked for lazily.

    Up to rounding: one step of the transformer makes a chunk of all.
    """
    lists = [shots(begun[0], 0)[:2], shots(begun[1], 1)[2:], shots(begun[2], 2)]
    asked = [lists[0], iter(lists[1]), lists[2]]
    together = [[] for _ in begun]
    for which, chunk in stream_stories(MODEL, list(zip(begun, asked, strict=True))):
        together[which].append(chunk)
    for story, mine, alone_asked in zip(begun, together, lists, strict=True):
        alone = list(stream_generate(MODEL, alone_asked, story=story))
        assert [(c.shot, c.chunk) for c in mine] == [(c.shot, c.chunk) for c in alone]
        for chunk, other in zip(mine, alone, strict=True):
            np.testing.assert_allclose(chunk.latents, other.latents, atol=1e-4)
            assert np.abs(chunk.frames.astype(int) - other.frames).max() <= 1
        records = (mine[-1].story.shots, alone[-1].story.shots)
        for record, other in zip(*records, strict=True):
            assert (record.take, record.length) == (other.take, other.length)
            assert np.array_equal(record.frames, other.frames)
            pins = [pin.latent for pin in record.pins]
            others = [pin.latent for pin in other.pins]
            assert all(np.array_equal(a, b) for a, b in zip(pins, others, strict=True))
