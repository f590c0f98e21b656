"""Stage 2: the causal student starts from the teacher's ODE trajectories.

    shotstream ode-pairs --config ode_init:wan-1.3b
    shotstream train --config ode_init:wan-1.3b --workdir runs/ode_init

wan-1.3b, the paper's: 5 k pairs (50 guided steps each), then 2 k steps of 64. tiny: 1 k pairs on
the drawn world. start.checkpoint is the teacher: it makes the pairs, and the student starts from
its weights.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common
from shotstream_jax.configs.common import TINY, WAN


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, WAN: wan_1_3b})


def wan_1_3b() -> ConfigDict:
    """The paper's values."""
    config = ConfigDict()
    config.stage = "ode_init"
    config.start = common.start("runs/teacher/model")
    config.data = common.wan_data()
    config.run = common.wan_run(steps=2_000, batch=64)
    config.run.sample_every = 500
    config.mesh = common.wan_mesh()
    config.optim = common.optimizer(lr=1e-6, clip=1.0)
    config.trained = common.trained("all")
    config.dropout = common.dropout()
    config.pairs = ConfigDict()
    config.pairs.path = "data/pairs"
    config.pairs.count = 5_000
    config.pairs.batch = 32  # made at a time, over all devices
    config.pairs.sampler = common.sampler(text=5.0, context=0.0)
    config.pairs.seed = 0
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = ConfigDict()
    config.stage = "ode_init"
    config.start = common.start("out/tiny/teacher_memory/model")
    config.data = common.tiny_data("out/tiny/data")
    config.run = common.tiny_run(steps=800, batch=16)
    config.run.held_out_every = 200
    config.run.sample_every = 500
    config.mesh = common.tiny_mesh()
    config.optim = common.scratch_optimizer(lr=1e-3, warmup_steps=50)
    config.trained = common.trained("all")
    config.dropout = common.dropout()
    config.pairs = ConfigDict()
    config.pairs.path = "out/tiny/pairs"
    config.pairs.count = 1_000
    config.pairs.batch = 20  # made at a time, over all devices
    # Of the memory much, so that hats keep their colours (docs/tiny.md, Teacher).
    config.pairs.sampler = common.sampler(text=1.0, context=3.0)
    config.pairs.seed = 0
    return config
