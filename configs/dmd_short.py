"""Stage 3, short: distribution matching after `consistency`, with averaged weights.

    shotstream train --config dmd_short:wan-1.3b --workdir runs/dmd_short

A student by consistency makes whole shots already, so some hundred steps suffice, and more take its
motion away (docs/training.md). What is kept is the average of the student. Both scores are the
bidirectional teacher's, as in `dmd_intra`.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common, dmd_intra
from shotstream_jax.configs.common import TINY, WAN


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, WAN: wan_1_3b})


def wan_1_3b() -> ConfigDict:
    """100 steps of the student, 500 of the fake score."""
    config = dmd_intra.wan_1_3b()
    config.start = common.start("runs/consistency/model")
    config.run.steps = 600
    config.run.batch = 64
    config.trained = common.trained("all", ema=0.95)
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = dmd_intra.tiny()
    config.start = common.start("out/tiny/consistency/model")
    config.run.steps = 120
    config.trained = common.trained("all", ema=0.8)
    return config
