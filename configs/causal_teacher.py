"""Stage 1 goes on, causally: an autoregressive teacher by teacher forcing, for `consistency`.

    shotstream train --config causal_teacher:wan-1.3b --workdir runs/causal_teacher

The teacher's weights learn to see no further than their own chunk, behind the true chunks before
it: what a trajectory of one chunk after the other must come from (docs/training.md). wan-1.3b: 5 k
steps of 64, all weights. tiny: on the drawn world, with the weights of teacher_memory's loss.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common, teacher
from shotstream_jax.configs.common import TINY, WAN


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, WAN: wan_1_3b})


def wan_1_3b() -> ConfigDict:
    """Steps and rate as others report them for models of this size (docs/training.md)."""
    config = teacher.wan_1_3b()
    config.start = common.start("runs/teacher/model")
    config.causal = True
    config.data.captions = "each"  # as its student will read them
    config.run.steps = 5_000
    config.trained = common.trained("all", ema=0.99)
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = teacher.tiny()
    config.start = common.start("out/tiny/teacher_memory/model")
    config.causal = True
    config.data.path = "out/tiny/data"
    config.text_lr = 0.0  # frozen
    config.time_weight = False
    config.run.steps = 400
    config.run.held_out_every = 200
    config.optim = common.scratch_optimizer(lr=1e-3, warmup_steps=50)
    config.trained = common.trained("all", ema=0.98)
    return config
