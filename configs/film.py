"""All stages on the film in examples/film: the smallest run of everything (`make film`).

    shotstream train --config film:teacher --workdir out/film/teacher

The text after the colon names a stage. Sizes and weights to start from are the miniature's, its
teacher's too: a transformer from nothing shows no more than noise after some hundred steps. Minutes
on two cores: what is shown is that the stages run, that losses fall, and where the film was shot.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common
from shotstream_jax.configs import dmd_inter as stage_4
from shotstream_jax.configs import dmd_intra as stage_3
from shotstream_jax.configs import ode_init as stage_2
from shotstream_jax.configs import teacher as stage_1


def get_config(stage: str = "teacher") -> ConfigDict:
    """The recipe of a stage: the text after the colon of --config."""
    stages = {
        "teacher": teacher,
        "ode_init": ode_init,
        "dmd_intra": dmd_intra,
        "dmd_inter": dmd_inter,
    }
    if stage not in stages:
        raise ValueError(f"no stage is called {stage!r}; there are {', '.join(stages)}")
    return stages[stage]()


def teacher() -> ConfigDict:
    """Stage 1."""
    config = on_the_film(stage_1.tiny(), steps=500, batch=4)
    config.start = common.start("tiny-teacher")
    config.data.captions = "target"
    config.run.save_every = 100
    config.run.held_out_every = 100
    config.optim = common.scratch_optimizer(lr=1e-3, warmup_steps=20)
    config.trained = common.trained("all")
    config.text_lr = 0.0
    config.mask_weight = 0.0
    return config


def ode_init() -> ConfigDict:
    """Stage 2."""
    config = on_the_film(stage_2.tiny(), steps=150, batch=4)
    config.start = common.start("out/film/teacher/model")
    config.run.save_every = 50
    config.run.held_out_every = 50
    config.optim = common.scratch_optimizer(lr=5e-4, warmup_steps=10)
    config.pairs.path = "out/film/pairs"
    config.pairs.count = 12
    config.pairs.batch = 4
    return config


def dmd_intra() -> ConfigDict:
    """Stage 3."""
    config = on_the_film(stage_3.tiny(), steps=24, batch=2)
    config.start = common.start("out/film/ode_init/model")
    config.teacher = "out/film/teacher/model"
    config.run.save_every = 6
    config.run.held_out_every = 6
    config.optim.lr = 5e-5
    return config


def dmd_inter() -> ConfigDict:
    """Stage 4."""
    config = on_the_film(stage_4.tiny(), steps=24, batch=2)
    config.start = common.start("out/film/dmd_intra/model")
    config.teacher = "out/film/teacher/model"
    config.shots = 3
    config.run.save_every = 6
    config.run.held_out_every = 6
    config.optim.lr = 5e-5
    # With 5, one step in 6 would be the student's, which with 3 shots is always the same shot.
    config.distillation.critic_steps = 4
    return config


def on_the_film(config: ConfigDict, steps: int, batch: int) -> ConfigDict:
    """A stage of the miniature with the film's few clips, and few steps."""
    config.data.path = "out/film/data"
    config.data.held_out = 0.25
    config.run.steps = steps
    config.run.batch = batch
    config.run.log_every = 10
    config.run.held_out_batches = 2
    config.run.sample_every = steps
    return config
