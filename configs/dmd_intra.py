"""Stage 3: distribution matching within a shot. The student makes a shot on the true earlier ones, as in inference.

    python -m shotstream_jax.train --config configs/dmd_intra.py:wan-1.3b --workdir runs/dmd_intra

wan-1.3b, the paper's: 500 steps of 32, one of the student in six, the others of the fake score. tiny: on the drawn
world. Three transformers are in memory: student and fake score in training, and the frozen teacher as the real score.
"""

from ml_collections import ConfigDict

from configs.ode_init import get_config as ode_init
from configs.teacher import WAN, optim, trained


def get_config(preset: str = "tiny") -> ConfigDict:
    wan, config = preset == WAN, ode_init(preset)
    config.stage = "dmd_intra"
    config.start.checkpoint = "runs/ode_init/model" if wan else "out/tiny/ode_init/model"
    config.teacher = (
        "runs/teacher/model" if wan else "out/tiny/teacher_memory/model"
    )  # both scores begin with it
    del config.pairs
    config.run.steps = 500 if wan else 600
    config.run.batch = 32 if wan else 8
    config.run.save_every = 60
    config.run.held_out_every = 120
    config.run.held_out_batches = 2
    config.run.sample_every = 300
    config.dropout.text = 0.0
    config.optim = optim(2e-6 if wan else 2e-4, clip=1.0)
    config.critic = optim(4e-7 if wan else 4e-4, clip=10.0)
    config.fake = trained("all")
    config.distillation = ConfigDict()
    config.distillation.guidance = (
        3.0 if wan else 1.0
    )  # of the real score: cond + g·(cond − uncond)
    config.distillation.context_guidance = (
        0.0 if wan else 3.0
    )  # … + c·(cond − x₀ without the earlier shots)
    config.distillation.critic_steps = 5  # after each step of the student
    config.distillation.least_time = 20.0
    config.distillation.most_time = 980.0
    return config
