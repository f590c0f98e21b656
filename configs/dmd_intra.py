"""Stage 3: distribution matching within a shot. The student makes a shot on the true earlier ones.

    shotstream train --config dmd_intra:wan-1.3b --workdir runs/dmd_intra

wan-1.3b, the paper's: 500 steps of 32, one of the student in six, the others of the fake score.
tiny: on the drawn world. Three transformers are in memory: student and fake score in training, and
the frozen teacher as the real score.
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
    config.stage = "dmd_intra"
    config.start = common.start("runs/ode_init/model")
    config.teacher = "runs/teacher/model"  # both scores start from it
    config.data = common.wan_data()
    config.run = often_looked_at(common.wan_run(steps=500, batch=32))
    config.mesh = common.wan_mesh()
    config.optim = common.optimizer(lr=2e-6, clip=1.0)
    config.critic = common.optimizer(lr=4e-7, clip=10.0)
    config.trained = common.trained("all")
    config.fake = common.trained("all")
    config.dropout = common.dropout(text=0.0)
    config.distillation = distillation(text=3.0, context=0.0)
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = ConfigDict()
    config.stage = "dmd_intra"
    config.start = common.start("out/tiny/ode_init/model")
    config.teacher = "out/tiny/teacher_memory/model"  # both scores start from it
    config.data = common.tiny_data("out/tiny/data")
    config.run = often_looked_at(common.tiny_run(steps=600, batch=8))
    config.mesh = common.tiny_mesh()
    config.optim = common.optimizer(lr=2e-4, clip=1.0)
    config.critic = common.optimizer(lr=4e-4, clip=10.0)
    config.trained = common.trained("all")
    config.fake = common.trained("all")
    config.dropout = common.dropout(text=0.0)
    config.distillation = distillation(text=1.0, context=3.0)
    return config


def distillation(text: float, context: float) -> ConfigDict:
    """The real score's guidance, and how the two scores are trained and asked."""
    config = ConfigDict()
    config.guidance = common.guidance(text, context)
    config.critic_steps = 5  # of the fake score, after each step of the student
    config.least_time = 20.0
    config.most_time = 980.0
    return config


def often_looked_at(run: ConfigDict) -> ConfigDict:
    """A run of few and slow steps: all intervals are multiples of critic_steps + 1 = 6."""
    run.save_every = 60
    run.held_out_every = 120
    run.held_out_batches = 2
    run.sample_every = 300
    return run
