"""The probe's files: weights in float16, and a .json with the shots it reads and how well.

The .json lies beside FILE.safetensors and is called FILE.json.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util

from shotstream_jax.checkpoint.arrays import open_file_arrays
from shotstream_jax.checkpoint.checkpoint import WEIGHTS
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import Params
from shotstream_jax.eval.labels import Labels
from shotstream_jax.presets import Preset, VideoFormat

# The probe that comes with the package.
SHIPPED = WEIGHTS / "tiny" / "probe.safetensors"


@dataclasses.dataclass(frozen=True)
class ShotFormat:
    """The shots that a probe reads.

    subset: of the world. height, width: pixels. frames: pixel frames. fps: frames a second.
    """

    subset: str
    height: int
    width: int
    frames: int
    fps: int


def shot_format_of(
    preset: Preset,
    video: VideoFormat,
    subset: str,
) -> ShotFormat:
    """The format of the shots that a model makes.

    Raises InputError if the model cannot make this video.
    """
    preset.latent_grid(video)  # refuses a size that the autoencoder cannot make
    frames = preset.vae.pixel_frames(video.shot_frames)
    return ShotFormat(subset, video.height, video.width, frames, video.fps)


def save_probe(
    path: pathlib.Path,
    shot_format: ShotFormat,
    params: Params,
    scores: dict[str, float],
) -> None:
    """Writes the weights, and a .json beside them.

    scores: share of right answers on held-out shots.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names such as conv0/kernel; half the size is precise enough.
    flat = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    half = {}
    for name, array in flat.items():
        half[name] = np.asarray(array, np.float16)
    write_whole(path, safetensors.numpy.save(half))
    # What load_probe checks, and how good the probe is.
    about = {"format": dataclasses.asdict(shot_format), "held_out": scores}
    text = json.dumps(about, indent=1) + "\n"
    write_whole(path.with_suffix(".json"), text.encode())


def load_probe(path: pathlib.Path, shot_format: ShotFormat) -> Params:
    """The probe's parameters in float32. Raises InputError if it reads shots of another format."""
    flat = {}
    for name, stored in open_file_arrays(path).items():
        flat[name] = stored.read().astype(np.float32)
    # What the .json says must be what is to be read.
    about = path.with_suffix(".json")
    try:
        made_for = ShotFormat(**json.loads(about.read_text("utf-8"))["format"])
        Labels(made_for.subset)  # refuses an unknown subset
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{about} does not say what {path.name} reads ({error}): train it again"
        ) from None
    if made_for != shot_format:
        raise InputError(
            f"{path} reads {made_for}, not {shot_format}: "
            "train another with python -m shotstream_jax.eval.train_probe"
        )
    return traverse_util.unflatten_dict(flat, sep="/")
