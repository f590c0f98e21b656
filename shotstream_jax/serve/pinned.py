"""Pins as people name them, as the library takes them (generate/pins)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Pin
from shotstream_jax.generate.pins import pin_frame, pin_picture
from shotstream_jax.media.decode import BOUND
from shotstream_jax.media.reader import read_frames
from shotstream_jax.model import Model
from shotstream_jax.serve.board import BoardShot
from shotstream_jax.serve.story_desk import StoryDesk


def pin_of(model: Model, desk: StoryDesk, shot: BoardShot, wanted: Mapping[str, Any]) -> Pin:
    """A frame of the story that a shot is to see.

    shot: that sees it. wanted: {"shot", "frame"}, the frame counted in its shot, or {"picture"}. A
    frame that the story remembers is taken as it is kept, any other one from the chunk's file.
    Raises InputError if it cannot be read.
    """
    if "picture" in wanted:
        path = desk.folder.picture(wanted["picture"])
        return pin_picture(model, desk.folder.head.video, path)
    source = desk.board.shots[wanted["shot"]]
    frame = wanted["frame"]
    memory = desk.memory(shot.parent)
    is_before = any(earlier.id == source.id for earlier in desk.board.branch(shot.parent))
    if is_before:
        for record in memory.shots:
            kept = record.frames - record.first_frame
            if record.number == source.number and frame in kept:
                return pin_frame(memory, source.number, frame)
    pixels = _frame_of_file(model, desk, source, frame)
    caption = source.cues[-1].caption if source.cues else source.caption
    number = source.number if is_before else None
    return pin_picture(model, desk.folder.head.video, pixels, shot=number, caption=caption)


def _frame_of_file(model: Model, desk: StoryDesk, shot: BoardShot, frame: int) -> np.ndarray:
    """A frame of a finished shot from its chunk's file, as small as it was made."""
    # The first chunk has fewer frames than the later ones (vae/config.pixel_frames).
    vae = model.preset.vae
    latents = model.preset.memory.chunk
    first = vae.pixel_frames(latents)
    later = vae.pixel_frames(2 * latents) - first
    chunk = 0 if frame < first else 1 + (frame - first) // later
    within = frame if chunk == 0 else (frame - first) % later
    path = desk.folder.chunk(shot.id, chunk)
    if not path.exists():
        raise InputError(f"the shot has no frame {frame}: pin one that it has")
    video = desk.folder.head.video
    # It may be of a story file that somebody else has made.
    return read_frames(path, np.array([within]), video.height, video.width, BOUND)[0]
