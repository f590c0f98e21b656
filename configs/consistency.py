"""Stage 2 without pairs: the student by consistency distillation of an autoregressive teacher.

    shotstream train --config consistency:wan-1.3b --workdir runs/consistency

In place of `ode-pairs` and `ode_init`. start.checkpoint is the teacher of `causal_teacher`: the
student starts from it and learns of its guided steps. wan-1.3b: 3 k steps of 64, 48 noise levels.
tiny: on the drawn world, 16 levels.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common
from shotstream_jax.configs.common import TINY, WAN


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, WAN: wan_1_3b})


def wan_1_3b() -> ConfigDict:
    """Steps, levels, guidance and average as others report them (docs/training.md)."""
    config = ConfigDict()
    config.stage = "consistency"
    config.start = common.start("runs/causal_teacher/model")
    config.data = common.wan_data()
    config.run = common.wan_run(steps=3_000, batch=64)
    config.run.sample_every = 500
    config.mesh = common.wan_mesh()
    config.optim = common.optimizer(lr=2e-6, clip=1.0)
    config.trained = common.trained("all", ema=0.99)
    config.dropout = common.dropout(text=0.0)
    config.consistency = consistency(text=2.0, context=0.0, pieces=12)
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = ConfigDict()
    config.stage = "consistency"
    config.start = common.start("out/tiny/causal_teacher/model")
    config.data = common.tiny_data("out/tiny/data")
    config.run = common.tiny_run(steps=600, batch=8)
    config.run.held_out_every = 200
    config.run.sample_every = 500
    config.mesh = common.tiny_mesh()
    config.optim = common.scratch_optimizer(lr=5e-4, warmup_steps=50)
    config.trained = common.trained("all", ema=0.95)
    config.dropout = common.dropout(text=0.0)
    config.consistency = consistency(text=1.0, context=3.0, pieces=4)
    return config


def consistency(text: float, context: float, pieces: int) -> ConfigDict:
    """The teacher's guidance, and into how many each of the student's steps is cut."""
    config = ConfigDict()
    config.guidance = common.guidance(text, context)
    config.pieces = pieces
    return config
