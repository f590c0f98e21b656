"""Encode a table of clips for training, once: latents, context frames, prompts.

    shotstream precompute --csv examples/film/clips.csv --out out/film
    shotstream precompute --config precompute:wan-1.3b --config.checkpoint=DIR --csv … --out …

data/dataset.py has the format. The text after the colon names a model size: tiny (the default, a
laptop's processor) or wan-1.3b (480×832, one GPU or TPU a part; DIR is a folder of converted
weights, of which only the autoencoder and the text encoder are read).
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common
from shotstream_jax.configs.common import TINY, WAN

# What a model for real films is kept away from.
NEGATIVE_PROMPT = (
    "overexposed, static picture, no motion, blurred, out of focus, subtitles, watermark, logo, "
    "low quality, compression artefacts, blocky, deformed face, deformed hands, missing or "
    "additional fingers, malformed limbs, crowded background, people walking backwards"
)


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, WAN: wan_1_3b})


def wan_1_3b() -> ConfigDict:
    """The paper's values."""
    config = ConfigDict()
    config.checkpoint = "wan-1.3b"
    config.dtype = "bfloat16"  # of the text encoder; the autoencoder runs in float32
    config.video = ConfigDict()
    config.video.height = 480
    config.video.width = 832
    # The most that a training target has: longer shots are strided, then cut.
    config.video.shot_frames = 21
    config.video.fps = 16  # changes no frame
    config.context = 6  # frames of earlier shots that a shot is given
    config.negative_prompt = NEGATIVE_PROMPT
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = ConfigDict()
    config.checkpoint = "tiny"
    config.dtype = "float32"
    config.video = ConfigDict()
    config.video.height = 32
    config.video.width = 48
    config.video.shot_frames = 6
    config.video.fps = 8
    config.context = 6
    config.negative_prompt = ""  # zeros: tiny has seen the drawn world's words, or none
    return config
