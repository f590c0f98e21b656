"""What a survey measures and where it writes, as one value that its processes share."""

import dataclasses
import json
import pathlib
from typing import Any

import jax

from shotstream_jax.presets import Preset, VideoFormat, find_preset

# By whether there is an accelerator: the paper's size, or what a processor can do.
_PRESETS = {True: "wan-1.3b", False: "tiny"}
_DTYPES = {True: "bfloat16", False: "float32"}


@dataclasses.dataclass(frozen=True)
class SurveySettings:
    """The options of `bench --all` that a section needs; None is the device's default.

    out: folder of the results. height, width: of the picture. frames: latent frames of a shot.
    seconds: spent on each line. began: of the command, seconds since 1970.
    """

    out: str
    preset: str | None = None
    dtype: str | None = None
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    seconds: float = 1.0
    began: float = 0.0

    @property
    def folder(self) -> pathlib.Path:
        """The folder of the results."""
        return pathlib.Path(self.out)

    def what(self) -> dict[str, Any]:
        """The fields that must be the same for results to stand in one folder."""
        fields = dataclasses.asdict(self)
        for name in ("out", "seconds", "began"):
            del fields[name]
        return fields

    def chosen_preset(self) -> Preset:
        """The preset; the default depends on this process's device."""
        return find_preset(self.preset or _PRESETS[has_accelerator()])

    def chosen_dtype(self) -> str:
        """The name of the matmuls' type; the default depends on this process's device."""
        return self.dtype or _DTYPES[has_accelerator()]

    def video(self, preset: Preset) -> VideoFormat:
        """The preset's format with this size."""
        video = preset.video
        return VideoFormat(
            height=self.height or video.height,
            width=self.width or video.width,
            shot_frames=self.frames or video.shot_frames,
            fps=video.fps,
        )


def has_accelerator() -> bool:
    """Whether this process's device is a GPU or TPU; it is taken into use by asking."""
    return jax.default_backend() != "cpu"


def settings_from_json(text: str) -> SurveySettings:
    """The inverse of json.dumps(dataclasses.asdict(settings))."""
    return SurveySettings(**json.loads(text))
