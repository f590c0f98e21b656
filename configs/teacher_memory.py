"""Stage 1 goes on, for the miniature only: the teacher learns to remember the colours of hats.

    shotstream train --config teacher_memory:tiny --workdir out/tiny/teacher_memory

High noise levels, to which the paper's weight gives next to nothing, count here (time_weight). The
text encoder stays as it is, so the data are those of the later stages.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common, teacher
from shotstream_jax.configs.common import TINY


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny})


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = teacher.tiny()
    config.start = common.start("out/tiny/teacher/model")
    config.data.path = "out/tiny/data"  # its prompts are encoded by the teacher's text encoder
    config.text_lr = 0.0  # frozen
    config.time_weight = False
    config.run.steps = 8_000
    config.optim = common.scratch_optimizer(lr=2e-3, warmup_steps=100)
    return config
