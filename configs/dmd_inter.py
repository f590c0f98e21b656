"""Stage 4: distribution matching between shots. The student makes whole stories on its own history.

    shotstream train --config dmd_inter:wan-1.3b --workdir runs/dmd_inter

wan-1.3b, the paper's: 1 k steps of 64, a step a shot, stories of 5 shots; adapters of rank 256 on
the student and on a new fake score. Only the clips' captions are used. tiny: on the drawn world.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common, dmd_intra
from shotstream_jax.configs.common import TINY, WAN


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, WAN: wan_1_3b})


def wan_1_3b() -> ConfigDict:
    """The paper's values."""
    config = dmd_intra.wan_1_3b()
    config.stage = "dmd_inter"
    config.start = common.start("runs/dmd_intra/model")
    config.shots = 5  # of a story; clips with fewer are skipped
    config.run.steps = 1_000
    config.run.batch = 64
    config.trained = common.trained("lora", rank=256)
    config.fake = common.trained("lora", rank=256)
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = dmd_intra.tiny()
    config.stage = "dmd_inter"
    config.start = common.start("out/tiny/dmd_intra/model")
    config.shots = 5  # of a story; clips with fewer are skipped
    config.trained = common.trained("lora", rank=16)
    config.fake = common.trained("lora", rank=16)
    return config
