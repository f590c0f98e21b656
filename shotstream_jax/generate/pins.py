"""Frames that are pinned: a shot sees them in the place of ones that it would remember."""

import pathlib

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.settings import own_settings
from shotstream_jax.core.typing import UInt8
from shotstream_jax.core.values import number_between
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.asked import Pin
from shotstream_jax.generate.conditions import kept_latent
from shotstream_jax.generate.progress import to_device_of
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.media.reader import read_frames
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.text.prompts import check_caption
from shotstream_jax.vae.codec import from_uint8

Picture = UInt8[np.ndarray, "y x 3"]


def pin_frame(story: Story, shot: int, frame: int) -> Pin:
    """A kept frame of a shot that the story remembers.

    shot, frame: numbers from 0; the frame's is counted in its shot. A frame that is not kept can be
    pinned as a picture. Raises InputError for one that is not kept; it names those that are.
    """
    record = story.record(shot)
    kept = [int(number) - record.first_frame for number in record.frames]
    if frame not in kept:
        raise InputError(
            f"frame {frame} of shot {shot + 1} is not kept, frames {kept} are: pin one of them, or "
            "the frame's picture"
        )
    return Pin(kept_latent(story, shot, record.first_frame + frame), shot, record.caption)


@own_settings()
def pin_picture(
    model: Model,
    video: VideoFormat,
    picture: str | pathlib.Path | Picture,
    *,
    shot: int | None = None,
    caption: str | None = None,
) -> Pin:
    """A picture, encoded like any context frame.

    Args:
      model: the weights and sizes.
      video: the story's format.
      picture: a file (PNG, JPEG, WebP, or the first frame of a video), scaled until it covers the
        format and cut to its centre; or the pixels themselves.
      shot: the number of the shot that it is a frame of, from 0; None for a picture from elsewhere.
      caption: what it shows; None for the new shot's own caption.

    Raises:
      InputError: if the file cannot be read, or if the pixels have another size than the format.
    """
    if shot is not None:
        shot = number_between(shot, "a pin's shot", 0, 10**9)
    if caption is not None:
        caption = check_caption(caption, "a pin's caption")
    pixels = _pixels(picture, video)
    params = model.params["vae"]
    frame = from_uint8(to_device_of(params, jnp.asarray(pixels[None])))
    with model.on_mesh("vae"):
        return Pin(steps.encode_context_frame(model.vae, params, frame), shot, caption)


def _pixels(picture: str | pathlib.Path | Picture, video: VideoFormat) -> Picture:
    """A file's picture, or the pixels themselves, of the format's size."""
    if not isinstance(picture, np.ndarray):
        return read_frames(picture, np.arange(1), video.height, video.width)[0]
    expected = (video.height, video.width, 3)
    if picture.shape != expected or picture.dtype != np.uint8:
        raise InputError(
            f"a picture {picture.dtype} {list(picture.shape)} does not fit the story: uint8 "
            f"{list(expected)} is needed"
        )
    return picture


def begin_with_picture(
    model: Model, story: Story, picture: str | pathlib.Path | Picture, caption: str
) -> Story:
    """A story whose first shot is a still picture of one frame; the next shot is its second.

    story: without shots. caption: what the picture shows. Raises InputError as `pin_picture`, or if
    the story has shots.
    """
    if story.shots:
        raise InputError(
            f"the story has {story.next_shot} shots: only a new one begins with a picture; "
            "Shot(…, pins=…) gives a later shot one"
        )
    pin = pin_picture(model, story.video, picture, caption=caption)
    record = ShotRecord(
        number=0,
        caption=check_caption(caption, "the picture's caption"),
        first_frame=0,
        length=1,
        frames=np.zeros(1, np.int64),
        latents=(pin.latent,),
    )
    return story.add(record)
