"""Pinned frames and pictures: what a shot sees in the place of what it would remember."""

import io

import av
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Pin, Shot
from shotstream_jax.generate.live import advance, begin, remake
from shotstream_jax.generate.pins import begin_with_picture, pin_frame, pin_picture
from shotstream_jax.generate.progress import conditions_under
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story, stream_generate
from shotstream_jax.media.pictures import write_png
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
    plain = conditions_under(MODEL, story, "the end", ())
    with_pin = conditions_under(MODEL, story, "the end", (pin,))
    assert np.array_equal(with_pin.context[:, 0], pin.latent)
    assert np.array_equal(with_pin.context[:, 1:], plain.context[:, 1:])
    phases = with_pin.ids.phase[0].tolist()
    assert phases == [0, *plain.ids.phase[0, 1:].tolist()]
    # Its caption stands in the slot that the dropped shot's had.
    slot = int(with_pin.ids.caption[0, 0])
    first = conditions_under(MODEL, stories[0], CAPTIONS[0], ())
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
    given = conditions_under(MODEL, begun, "it runs", ())
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
    given = conditions_under(MODEL, story, "it runs", pins)
    halves = jnp.split(given.context, 2, axis=1)
    for half, pin in zip(halves, pins, strict=True):
        assert np.array_equal(half, jnp.stack([pin.latent] * (BUDGET // 2), axis=1))
    assert jax.tree.map(np.asarray, given.ids.phase)[0].tolist() == [0] * BUDGET + [1]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_pictures_of_any_size_are_read(suffix, tmp_path):
    """Red left, blue right, twice as large and wider: covered, and its centre cut out."""
    wide = np.zeros((2 * VIDEO.height, 4 * VIDEO.width, 3), np.uint8)
    wide[:, : 2 * VIDEO.width, 0] = 255
    wide[:, 2 * VIDEO.width :, 2] = 255
    path = tmp_path / f"picture{suffix}"
    if suffix == ".png":
        write_png(path, wide)
    else:
        codec = {".jpg": "mjpeg", ".webp": "libwebp"}[suffix]
        path.write_bytes(encoded(wide, codec))
    cut = np.zeros((VIDEO.height, VIDEO.width, 3), np.uint8)
    cut[:, : VIDEO.width // 2, 0] = 255
    cut[:, VIDEO.width // 2 :, 2] = 255
    from_file = pin_picture(MODEL, VIDEO, path).latent
    from_pixels = pin_picture(MODEL, VIDEO, cut).latent
    assert float(jnp.abs(from_file - from_pixels).max()) < 0.3 * float(jnp.abs(from_pixels).max())


def encoded(picture, codec):
    out = io.BytesIO()
    with av.open(out, "w", format="image2pipe") as container:
        stream = container.add_stream(codec, rate=1)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuvj444p" if codec == "mjpeg" else "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


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
    with pytest.raises(InputError, match="does not fit the story"):
        pin_picture(MODEL, VIDEO, picture[1:])
    with pytest.raises(InputError):
        pin_picture(MODEL, VIDEO, tmp_path / "absent.png")
