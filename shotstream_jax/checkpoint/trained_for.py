"""What a transformer was trained for, as config.json tells it of the part `dit`."""

import dataclasses
from typing import Any

from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.presets import VideoFormat

TEACHER = "teacher"  # many steps, all frames of a shot at once
STUDENT = "student"  # few steps, chunk by chunk: what a stream needs
_KEY = "trained_for"


@dataclasses.dataclass(frozen=True)
class TrainedFor:
    """role: TEACHER or STUDENT. height, width: pixels. shot_frames: latent frames of a shot."""

    role: str
    height: int
    width: int
    shot_frames: int

    def facts(self) -> dict[str, Any]:
        """The entry in config.json."""
        return {_KEY: dataclasses.asdict(self)}


def trained_for(checkpoint: Checkpoint) -> TrainedFor | None:
    """What a checkpoint's transformer was trained for; None where it does not say.

    Raises InputError if the entry is damaged.
    """
    if "dit" not in checkpoint.parts:
        return None
    entry = checkpoint.parts["dit"].entry.get(_KEY)
    if entry is None:
        return None
    try:
        return TrainedFor(**entry)
    except TypeError:
        raise InputError(f"{checkpoint.name}: {_KEY} {entry!r:.60} is damaged") from None


def doubts(checkpoint: Checkpoint, video: VideoFormat) -> list[str]:
    """Why a stream by this checkpoint in this format may look poor, a line each; mostly none.

    A checkpoint that does not say what it was trained for is taken for one of its preset's format.
    """
    known = trained_for(checkpoint)
    own = checkpoint.preset.video
    lines = []
    if known is not None and known.role == TEACHER:
        steps = len(checkpoint.preset.steps.nominal)
        lines.append(
            f"{checkpoint.name} was trained as a teacher, for many steps over whole shots: "
            f"streamed in {steps} steps its pictures are poor; stream its student"
        )
    # Frames a second only say how fast the frames are shown.
    size = (own.height, own.width, own.shot_frames)
    if known is not None:
        size = (known.height, known.width, known.shot_frames)
    asked = (video.height, video.width, video.shot_frames)
    if asked != size:
        lines.append(
            f"{checkpoint.name} was trained for {_format(*size)}: {_format(*asked)} may look poor"
        )
    return lines


def _format(height: int, width: int, shot_frames: int) -> str:
    return f"{height}×{width} with {shot_frames} latent frames a shot"
