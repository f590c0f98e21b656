"""Stage 2: the causal student starts from the teacher's ODE trajectories.

    python -m shotstream_jax.train.ode_pairs --config configs/ode_init.py:wan-1.3b
    python -m shotstream_jax.train --config configs/ode_init.py:wan-1.3b --workdir runs/ode_init

wan-1.3b, the paper's: 5 k pairs (50 guided steps each), then 2 k steps of 64. tiny: 1 k pairs on the drawn world.
start.checkpoint is the teacher: the pairs are his, and the student begins with his weights.
"""

from ml_collections import ConfigDict

from configs.teacher import WAN, optim, trained
from configs.teacher import get_config as teacher


def get_config(preset: str = "tiny") -> ConfigDict:
    wan, config = preset == WAN, teacher(preset)
    config.stage = "ode_init"
    config.start.checkpoint = "runs/teacher/model" if wan else "out/tiny/teacher_memory/model"
    config.start.scratch = False
    config.data.path = (
        "data/clips" if wan else "out/tiny/data"
    )  # tiny: with the prompts as its teacher reads them
    config.data.captions = "each"
    config.run.steps = 2000 if wan else 800
    config.run.held_out_every = 500 if wan else 200
    config.run.sample_every = 500
    config.optim = optim(1e-6 if wan else 1e-3, clip=1.0)
    if not wan:
        config.optim.b1, config.optim.b2 = 0.9, 0.99
        config.optim.warmup_steps = 50
        config.optim.decay_steps = 800  # = run.steps
    config.trained = trained("all")
    del (
        config.text_lr,
        config.mask_weight,
        config.time_weight,
        config.sampler_steps,
        config.guidance,
    )
    del config.context_guidance
    config.pairs = ConfigDict()
    config.pairs.path = "data/pairs" if wan else "out/tiny/pairs"
    config.pairs.count = 5000 if wan else 1000
    config.pairs.batch = 32 if wan else 20  # made at a time, over all devices
    config.pairs.sampler_steps = 50
    config.pairs.guidance = 6.0 if wan else 2.0  # tiny: docs/tiny.md, Teacher
    config.pairs.context_guidance = 0.0 if wan else 3.0  # so that hats are kept
    config.pairs.seed = 0
    return config
