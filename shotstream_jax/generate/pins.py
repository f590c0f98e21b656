"""Frames that are pinned: a shot sees them in the place of ones that it would remember."""

import pathlib

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.settings import own_settings
from shotstream_jax.core.values import whole_number
from shotstream_jax.generate.asked import Picture, Pin, Pixels
from shotstream_jax.generate.conditions import kept_latent
from shotstream_jax.generate.progress import encode_picture
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.text.prompts import check_caption


def pin_frame(story: Story, shot: int, frame: int) -> Pin:
    """A kept frame of a shot that the story remembers.

    shot, frame: numbers from 0; the frame's is counted in its shot. A frame that is not kept can be
    pinned as a picture. Raises InputError for one that is not kept; it names those that are.
    """
    shot = whole_number(shot, "a shot's number")
    frame = whole_number(frame, "a frame's number")
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
    picture: str | pathlib.Path | Pixels,
    *,
    fit: str = "crop",
    shot: int | None = None,
    caption: str | None = None,
) -> Pin:
    """A picture as a pin: encoded once, for as many shots as one likes.

    For a single shot Shot(…, pictures=[…]) does the same.

    Args:
      model: the weights and sizes.
      video: the story's format.
      picture, fit: as of generate/asked.Picture.
      shot: the number of the shot that it is a frame of, from 0; None for a picture from elsewhere.
      caption: what it shows; None for the new shot's own caption.

    Raises:
      InputError: if the file cannot be read.
    """
    given = Picture(picture, fit, shot, caption)
    return Pin(encode_picture(model, given.pixels(video)), given.shot, given.caption)


def begin_with_picture(
    model: Model,
    story: Story,
    picture: str | pathlib.Path | Pixels,
    caption: str,
    *,
    fit: str = "crop",
) -> Story:
    """A story whose first shot is a still picture of one frame; the next shot is its second.

    story: without shots. caption: what the picture shows. Raises InputError as `pin_picture`, or if
    the story has shots.
    """
    if story.shots:
        raise InputError(
            f"the story has {story.next_shot} shots: only a new one begins with a picture; "
            "Shot(…, pictures=[…]) gives a later shot one"
        )
    pin = pin_picture(model, story.video, picture, fit=fit, caption=caption)
    record = ShotRecord(
        number=0,
        caption=check_caption(caption, "the picture's caption"),
        first_frame=0,
        length=1,
        frames=np.zeros(1, np.int64),
        latents=(pin.latent,),
    )
    return story.add(record)
