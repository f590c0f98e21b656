"""All stages on the film in examples/film: the smallest run of everything, minutes on two cores (`make film`).

    python -m shotstream_jax.train --config configs/film.py:teacher --workdir out/film/teacher

The text after the colon names a stage. Sizes and weights to start from are the miniature's, the transformer starts from
nothing. Only two dozen steps a stage: what is shown is that they run, and that losses fall.
"""

from ml_collections import ConfigDict

from configs import dmd_inter, dmd_intra, ode_init, teacher

STAGES = {"teacher": teacher, "ode_init": ode_init, "dmd_intra": dmd_intra, "dmd_inter": dmd_inter}
STARTS = {"ode_init": "teacher", "dmd_intra": "ode_init", "dmd_inter": "dmd_intra"}


def get_config(stage: str = "teacher") -> ConfigDict:
    if stage not in STAGES:
        raise ValueError(f"no stage is called {stage!r}; there are {', '.join(STAGES)}")
    config = STAGES[stage].get_config("tiny")
    first, dmd = stage == "teacher", stage.startswith("dmd")
    config.start.checkpoint = "tiny" if first else f"out/film/{STARTS[stage]}/model"
    config.data.path = "out/film/data"
    config.data.held_out = 0.25
    config.run.steps = 100 if first else 24
    config.run.batch = 2 if dmd else 4
    config.run.log_every = 10
    config.run.save_every = 6 if dmd else 50
    config.run.held_out_every = 50 if first else 6 if dmd else 12
    config.run.held_out_batches = 2
    config.run.sample_every = config.run.steps
    config.trained.ema = 0.0
    if first:
        config.optim = teacher.optim(1e-3, clip=10.0)
        config.text_lr = config.mask_weight = 0.0
        config.data.captions = "target"
    if stage == "ode_init":
        config.optim = teacher.optim(5e-4, clip=1.0)
        config.pairs.path = "out/film/pairs"
        config.pairs.count = 12
        config.pairs.batch = 4
    if dmd:
        config.teacher = "out/film/teacher/model"
        config.optim.lr = 5e-4
    if stage == "dmd_inter":
        config.shots = 3
        config.distillation.critic_steps = (
            4  # 6 steps and 3 shots would meet in the first shot only
        )
    return config
