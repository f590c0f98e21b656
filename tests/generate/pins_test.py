"""Pinned frames and pictures: what a shot sees in the place of what it would remember."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Picture, Pin, Shot
from shotstream_jax.generate.live import advance, begin, remake
from shotstream_jax.generate.pins import begin_with_picture, pin_frame, pin_picture
from shotstream_jax.generate.progress import begin_shot
from shotstream_jax.generate.side_by_side import stream_stories
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.media.pictures import write_png
from shotstream_jax.media.still import fit_pixels
from shotstream_jax.memory.select import ContextPick, make_room
from shotstream_jax.testing import tiny_model

MODEL = tiny_model()
VIDEO = MODEL.preset.video
BUDGET = MODEL.preset.memory.context
CAPTIONS = [f"shot {number}" for number in range(BUDGET + 2)]


def finished(live) -> Story:
    while not live.is_finished:
        live, _ = advance(MODEL, live)
    return live.story


@pytest.fixture(scope="module")
def stories():
    """A story after each of its shots."""
    story = new_story(MODEL, "A fox.", 3)
    return [story, *(c.story for c in stream_generate(MODEL, CAPTIONS, story=story) if c.story)]


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (VIDEO.height, VIDEO.width, 3), np.uint8)


def test_the_middle_of_the_largest_shot_makes_room():
    pick = ContextPick(np.array([0, 2, 4, 10, 20]), np.array([0, 0, 0, 1, 2]))
    for pinned, left in ((0, [0, 2, 4, 10, 20]), (1, [0, 4, 10, 20]), (2, [0, 10, 20])):
        made = make_room(pick, pinned)
        assert made.frames.tolist() == left
        assert made.shots.tolist() == [pick.shots[pick.frames.tolist().index(f)] for f in left]
    assert make_room(pick, 9).frames.tolist() == []


def test_a_pinned_frame_is_seen_with_its_phase_and_caption(stories):
    """A frame of a shot that the story has forgotten, in the place of the oldest one."""
    pin = pin_frame(stories[1], 0, 0)
    story = stories[-1]
    assert story.shots[0].number > 0  # shot 0 is forgotten
    plain = begin_shot(MODEL, story, "the end").conditions
    with_pin = begin_shot(MODEL, story, Shot("the end", pins=[pin])).conditions
    assert np.array_equal(with_pin.context[:, 0], pin.latent)
    assert np.array_equal(with_pin.context[:, 1:], plain.context[:, 1:])
    phases = with_pin.ids.phase[0].tolist()
    assert phases == [0, *plain.ids.phase[0, 1:].tolist()]
    # Its caption stands in the slot that the dropped shot's had.
    slot = int(with_pin.ids.caption[0, 0])
    first = begin_shot(MODEL, stories[0], CAPTIONS[0]).conditions
    assert np.array_equal(with_pin.text[0, slot], first.text[0, 0])
    assert np.array_equal(with_pin.text[0, -1], plain.text[0, -1])


def test_a_shot_with_pins_is_remade_from_its_record(stories, picture, tmp_path):
    pins = (pin_picture(MODEL, VIDEO, picture, caption="a fox"), pin_frame(stories[1], 0, 0))
    told = finished(begin(MODEL, stories[2], Shot("the end", pins=pins)))
    plain = finished(begin(MODEL, stories[2], "the end"))
    latents = [np.concatenate(story.shots[-1].latents) for story in (told, plain)]
    assert not np.array_equal(*latents)
    told.save(tmp_path / "story")
    kept = Story.load(tmp_path / "story").shots[-1]
    again = remake(MODEL, stories[2], kept).story
    assert kept.is_same(told.shots[-1]) and not kept.is_same(plain.shots[-1])
    assert np.array_equal(np.concatenate(again.shots[-1].latents), latents[0])


def test_a_story_begins_with_a_picture(picture):
    story = new_story(MODEL, "A fox.", 3)
    begun = begin_with_picture(MODEL, story, picture, "a fox in the snow")
    given = begin_shot(MODEL, begun, "it runs").conditions
    latent = pin_picture(MODEL, VIDEO, picture).latent
    assert np.array_equal(given.context, jnp.stack([latent] * BUDGET, axis=1))
    assert given.ids.phase[0].tolist() == [0] * BUDGET + [1]
    after = finished(begin(MODEL, begun, "it runs"))
    assert after.shots[-1].first_frame == 1
    with pytest.raises(InputError, match="only a new one begins with a picture"):
        begin_with_picture(MODEL, after, picture, "a fox")


def test_a_first_shot_may_see_pictures_too(picture):
    story = new_story(MODEL, "A fox.", 3)
    pins = [pin_picture(MODEL, VIDEO, p) for p in (picture, 255 - picture)]
    given = begin_shot(MODEL, story, Shot("it runs", pins=pins)).conditions
    halves = jnp.split(given.context, 2, axis=1)
    for half, pin in zip(halves, pins, strict=True):
        assert np.array_equal(half, jnp.stack([pin.latent] * (BUDGET // 2), axis=1))
    assert jax.tree.map(np.asarray, given.ids.phase)[0].tolist() == [0] * BUDGET + [1]


def test_pictures_of_a_shot_are_its_pins(stories, picture, tmp_path):
    """Files and pixels of any size, fitted as asked, behind the shot's pins."""
    both = np.concatenate([picture, 255 - picture], axis=1)
    wide = both.repeat(2, 0).repeat(2, 1)
    write_png(tmp_path / "wide.png", wide)
    mara = pin_frame(stories[1], 0, 0)
    given = [str(tmp_path / "wide.png"), Picture(wide, fit="pad", caption="a fox", shot=0)]
    live = begin(MODEL, stories[2], Shot("the end", pins=[mara], pictures=given))
    pins = live.progress.shot.pins
    left = VIDEO.width // 2
    cropped = np.ascontiguousarray(both[:, left : left + VIDEO.width])
    padded = fit_pixels(wide, VIDEO.height, VIDEO.width, "pad")
    expected = [mara, pin_picture(MODEL, VIDEO, cropped), pin_picture(MODEL, VIDEO, padded)]
    for pin, other in zip(pins, expected, strict=True):
        assert np.array_equal(pin.latent, other.latent)
    assert [(pin.shot, pin.caption) for pin in pins[1:]] == [(None, None), (0, "a fox")]
    # The record has what they became: the files are not needed to make the shot again.
    (tmp_path / "wide.png").unlink()
    told = finished(live)
    again = remake(MODEL, stories[2], told.shots[-1])
    assert again.story.shots[-1].is_same(told.shots[-1])
    assert told.shots[-1].pins == pins


def test_a_small_file_that_unpacks_to_much_is_refused(stories, tmp_path):
    """Of what a stranger's archive claims no more is read than a record can have."""
    stories[2].save(tmp_path)
    path = tmp_path / "shot_000001.npz"
    with np.load(path) as data:
        arrays = dict(data)
    np.savez_compressed(path, **arrays, more=np.zeros(10**8, np.uint8))
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match=r"shot_000001\.npz is unreadable.*it unpacks to 100"):
        Story.load(tmp_path)


def test_what_cannot_be_pinned_is_named(stories, picture, tmp_path):
    latent = pin_picture(MODEL, VIDEO, picture)
    with pytest.raises(InputError, match="frame 3 of shot 2 is not kept, frames"):
        pin_frame(stories[2], 1, 3)
    with pytest.raises(InputError, match="shot 1 is not remembered"):
        pin_frame(stories[-1], 0, 0)
    with pytest.raises(InputError, match="7 frames are pinned; a shot sees"):
        begin(MODEL, stories[1], Shot("x", pins=(latent,) * 7))
    with pytest.raises(InputError, match="a frame of shot 3 is pinned for shot 2"):
        begin(MODEL, stories[1], Shot("x", pins=(Pin(latent.latent, 2, "x"),)))
    with pytest.raises(InputError, match="pins must be Pins"):
        Shot("x", pins=[picture])
    with pytest.raises(InputError, match="pins must be a list, not Pin"):
        Shot("x", pins=latent)
    for pictures in ("mara.png", picture, tmp_path):
        with pytest.raises(InputError, match="pictures must be a list"):
            Shot("x", pictures=pictures)
    with pytest.raises(InputError, match="a picture must be a file"):
        Shot("x", pictures=[7])
    small = Pin(latent.latent[:, :2])
    with pytest.raises(InputError, match="pin frames of stories of the same format"):
        begin(MODEL, stories[1], Shot("x", pins=[small]))
    with pytest.raises(InputError, match=r"absent\.png is not there"):
        pin_picture(MODEL, VIDEO, tmp_path / "absent.png")


@pytest.mark.parametrize(
    "fields", [{"shot": -1}, {"shot": 1.5}, {"shot": True}, {"caption": 7}, {"caption": " "}]
)
def test_what_a_pin_says_of_itself_is_checked(fields, picture):
    with pytest.raises(InputError, match="a pin's"):
        Pin(np.zeros(1), **fields)
    with pytest.raises(InputError, match="a pin's"):
        Picture(picture, **fields)


def test_all_shots_of_a_list_are_checked_before_the_first_one(picture, tmp_path):
    pins = [pin_picture(MODEL, VIDEO, picture)] * (BUDGET + 1)
    for last, message in (
        (Shot("x", pictures=[tmp_path / "absent.png"]), "absent.png is not there"),
        (Shot("x", frames=1), "not a multiple of the chunk"),
        (Shot("x", pins=pins), "frames are pinned"),
        (Shot("x", styles={"film": 1.0}), "film"),
    ):
        with pytest.raises(InputError, match=message):
            stream_generate(MODEL, ["a", last])
        with pytest.raises(InputError, match=message):
            stream_stories(MODEL, [(new_story(MODEL), ["a"]), (new_story(MODEL), ["b", last])])
