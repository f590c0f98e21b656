"""Over time nothing is compiled again, and nothing piles up, whatever is done to the stories."""

import gc

import jax
import numpy as np
import pytest

from shotstream_jax.generate.asked import Pin, Shot
from shotstream_jax.generate.live import advance, begin, cut, remake, retell
from shotstream_jax.generate.pins import begin_with_picture, pin_frame
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.memory.select import candidates
from shotstream_jax.presets import find_preset
from shotstream_jax.testing import tiny_model
from tests.generate.acts import Act, acts, perform
from tests.generate.compiled import compilations

MODEL = tiny_model()
CHUNK = MODEL.preset.memory.chunk
VIDEO = MODEL.preset.video


def begun(seed: int) -> Story:
    """A story of a picture and a shot."""
    picture = np.random.default_rng(seed).integers(0, 256, (50, 20, 3), np.uint8)
    story = begin_with_picture(MODEL, new_story(MODEL, f"A fox {seed}.", seed), picture, "a fox")
    return perform(MODEL, story, Act("it is there"))[1]


def tell_all(seed: int) -> None:
    """Two stories in turn with all that can be done, and one of them remade."""
    before, other = begun(seed), begun(seed + 1)
    first = before
    twin = acts(MODEL, other, seed + 1)
    records = []
    for number, act in enumerate(acts(MODEL, before, seed)):
        # The other story's shot begins before this one's is made, and ends after it.
        live, _ = advance(MODEL, begin(MODEL, other, twin[-1 - number].shot))
        _, first = perform(MODEL, first, act)
        records.append(first.shots[-1])
        if not live.is_finished:
            live = retell(MODEL, live, f"and now {number}", again=number % 2 == 0)
        other = cut(MODEL, live)
    again = before
    for record in records:
        again = remake(MODEL, again, record).story
    for chunk in stream_generate(MODEL, ["one", Shot("two", take=1, frames=CHUNK)], story=again):
        again = chunk.story or again
    assert again.next_shot == first.next_shot + 2


def test_nothing_is_compiled_after_the_first_shots():
    """Not a single program, not even of an array's operation."""
    tell_all(1)
    with compilations() as compiled:
        tell_all(5)
        assert not compiled
        # What is compiled is seen.
        jax.jit(lambda x: x + 1)(1.0)
        assert compiled


@pytest.fixture
def only_ours() -> None:
    """What earlier tests left behind is gone before, and not in between."""
    gc.collect()


def held() -> tuple[int, int]:
    """How many arrays there are on the devices, and their bytes."""
    arrays = jax.live_arrays()
    return len(arrays), sum(array.nbytes for array in arrays)


def test_what_is_held_stays_the_same_over_a_long_story(only_ours):
    """Shots with pins, takes, cuts and captions of their own, four by four."""
    story = begun(3)
    mara = pin_frame(story, 0, 0)
    after_four = []
    for number in range(0, 40, 4):
        recent = pin_frame(story, story.next_shot - 1, 0)
        for act in (
            Act(Shot(f"take {number}", take=number)),
            Act(Shot(f"pins {number}", pins=[mara, recent])),
            Act(f"cut {number}", told={1: [(f"told {number}", True)]}, cut_at=1 + number % 2),
            Act(Shot(f"short {number}", frames=CHUNK)),
        ):
            story = perform(MODEL, story, act)[1]
        after_four.append(held())
    # From the third on the story's first shots, of which more is kept, are forgotten.
    assert len(set(after_four[2:])) == 1, after_four


def test_an_idle_story_holds_what_it_counts(only_ours, tmp_path):
    """Nothing beside its frames: no caches, no embeddings, no decoder's state."""
    told = begun(7)
    mara = pin_frame(told, 0, 0)
    told = perform(MODEL, told, Act(Shot("x", pins=[mara])))[1]
    told.save(tmp_path)
    before = held()
    stories = []
    for _ in range(3):
        story = told
        for number in range(5):
            story = perform(MODEL, story, Act(Shot("x", pins=[mara], take=number)))[1]
        stories.append(story)
    # The pinned frame is one array in all of them.
    expected = sum(story.nbytes for story in stories) - 3 * mara.latent.nbytes
    assert held()[1] - before[1] == expected
    stories[0].save(tmp_path)
    assert Story.load(tmp_path).nbytes == stories[0].nbytes


@pytest.mark.parametrize(("pins", "most"), [(0, 6.8e6), (1, 7.2e6), (6, 9.3e6)])
def test_an_idle_story_of_real_size_is_below_10_mb(pins, most):
    """By shapes, after each of its shots, with the same pins in each."""
    preset = find_preset("wan-1.3b")
    latent = jax.ShapeDtypeStruct(
        (1, *preset.latent_grid(preset.video), preset.dit.channels), np.float32
    )
    pinned = tuple(Pin(_copy(latent)) for _ in range(pins))
    context = preset.memory.context
    length = preset.vae.pixel_frames(preset.video.shot_frames)
    story = Story("", 0, preset.name, preset.video, context)
    sizes = []
    for number in range(3 * context):
        frames = candidates(number, number * length, length, context)
        latents = tuple(_copy(latent) for _ in frames)
        story = story.add(
            ShotRecord(number, "x", number * length, length, frames, latents, pins=pinned)
        )
        sizes.append(story.nbytes)
    assert 0.9 * most < max(sizes) <= most < 10e6


def _copy(shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype)
