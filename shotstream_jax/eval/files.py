"""The probe's file: weights in float16, and beside them a .json with what pictures it is for and how good it is."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
from flax import traverse_util

from shotstream_jax.checkpoint.checkpoint import WEIGHTS
from shotstream_jax.convert.files import read_safetensors, write_safetensors
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.eval.labels import Labels
from shotstream_jax.model import Params
from shotstream_jax.presets import Preset, VideoFormat

SHIPPED = WEIGHTS / "tiny" / "probe.safetensors"


@dataclasses.dataclass(frozen=True)
class Format:
    """The shots that a probe reads. frames: pixel frames of each."""

    subset: str
    height: int
    width: int
    frames: int
    fps: int


def format_of(preset: Preset, video: VideoFormat, subset: str) -> Format:
    """The shots that a model makes."""
    preset.latent_grid(video)
    return Format(
        subset, video.height, video.width, preset.vae.pixel_frames(video.shot_frames), video.fps
    )


def save_probe(path: pathlib.Path, form: Format, params: Params, scores: dict[str, float]) -> None:
    """Weights, and a .json beside them."""
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors({k: np.asarray(a, np.float16) for k, a in flat.items()}, path, lambda _: None)
    text = json.dumps({"format": dataclasses.asdict(form), "held_out": scores}, indent=1) + "\n"
    write_whole(path.with_suffix(".json"), text.encode())


def load_probe(path: pathlib.Path, form: Format) -> Params:
    """Its parameters in float32. Raises InputError if it reads other shots than these."""
    flat = {key: np.asarray(lazy, np.float32) for key, lazy in read_safetensors(path).items()}
    about = path.with_suffix(".json")
    try:
        made = Format(**json.loads(about.read_text("utf-8"))["format"])
        Labels(made.subset)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{about} does not tell what {path.name} reads ({error}): train it again"
        ) from None
    if made != form:
        raise InputError(
            f"{path} reads {made}, not {form}: train another with python -m shotstream_jax.eval.train_probe"
        )
    return traverse_util.unflatten_dict(flat, sep="/")
