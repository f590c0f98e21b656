"""From films to clips for training: cuts, groups of shots, captions, the table for precompute.

    shotstream prepare films/*.mp4 --out data/prepared --config prepare:wan-1.3b
    shotstream precompute --csv data/prepared/clips.csv --out data/clips --config …

The text after the colon names a model size, as in configs/precompute.py: tiny (the default) or
wan-1.3b. shotstream_jax/prepare/recipe.py explains the fields, docs/films.md the whole way.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common
from shotstream_jax.configs.common import TINY, WAN


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, WAN: wan_1_3b})


def wan_1_3b() -> ConfigDict:
    """Clips of 480×832 at 16 frames a second."""
    config = ConfigDict()
    config.video = clips(height=480, width=832, fps=16, lossless=False)
    config.cuts = cuts()
    config.shots = shots(fps=16)
    config.groups = groups(frames=250)
    return config


def tiny() -> ConfigDict:
    """Clips of the miniature's size."""
    config = ConfigDict()
    # Half of the colours' resolution would blur what is that small.
    config.video = clips(height=32, width=48, fps=8, lossless=True)
    config.cuts = cuts()
    config.shots = shots(fps=8)
    config.groups = groups(frames=125)
    return config


def clips(height: int, width: int, fps: int, lossless: bool) -> ConfigDict:
    """What the clips are written as."""
    config = ConfigDict()
    config.height = height
    config.width = width
    config.fps = fps
    config.lossless = lossless
    return config


def cuts() -> ConfigDict:
    """PySceneDetect's own values; black as its fade detector has it."""
    config = ConfigDict()
    config.ratio = 3.0
    config.window = 2
    config.least_change = 15.0
    config.shortest = 8
    config.spike = 2.5
    config.least_motion = 2.0
    config.swap = 3.0
    config.least_exchange = 0.02
    config.gradual = "package"
    config.probability = 0.5
    config.black = 20.0
    config.plain = 12.0
    config.fade = 2.0
    return config


def shots(fps: int) -> ConfigDict:
    """From a second to five; hardly anything but what is still, black, or letters is dropped."""
    config = ConfigDict()
    config.shortest = fps
    config.longest = 5 * fps + 1
    config.darkest = 12.0
    config.brightest = 243.0
    config.least_motion = 0.06
    config.most_motion = 40.0
    config.least_sharp = 4.0
    config.most_text = 0.06
    return config


def groups(frames: int) -> ConfigDict:
    """Two to five shots that look like one place."""
    config = ConfigDict()
    config.least = 2
    config.most = 5
    config.frames = frames
    config.likeness = 0.35
    config.reach = 3
    config.duplicate = 0.97
    return config
