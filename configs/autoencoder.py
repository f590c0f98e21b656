"""Before the stages: the miniature's autoencoder, on shots of the drawn world that are drawn as they are needed.

    python -m shotstream_jax.train --config configs/autoencoder.py:tiny --workdir out/tiny/autoencoder

tiny: from nothing, an hour on two cores. The pictures are the world's `simple` subset in the preset's own format; what
is held out is its `test` split. WORKDIR/model has the trained autoencoder and the latents' mean and standard
deviation; its transformer and text encoder are the checkpoint's.
Wan's autoencoder is taken as it is, so there is no other size.
"""

from ml_collections import ConfigDict

from configs.teacher import TINY, optim, trained
from configs.teacher import get_config as teacher


def get_config(preset: str = TINY) -> ConfigDict:
    if preset != TINY:
        raise ValueError(f"only {TINY} has an autoencoder of its own, not {preset}")
    config = teacher(preset)
    config.stage = "autoencoder"
    config.start.checkpoint = "tiny"
    config.data = ConfigDict()
    config.data.subset = "simple"
    config.data.frames = 6  # latent frames of a shot
    config.data.stories = 1_000_000
    config.data.held_out = 1000
    config.data.workers = 1
    config.data.seed = 0
    config.run.steps = 12_000
    config.run.batch = 2
    config.run.remat = "none"
    config.run.save_every = 500
    config.run.held_out_every = 1000
    config.run.held_out_batches = 16
    config.run.sample_every = 4000
    config.optim = optim(1.5e-3, clip=1.0)
    config.optim.b1 = 0.9
    config.optim.b2 = 0.99
    config.optim.weight_decay = 0.0
    config.optim.warmup_steps = 100
    config.optim.decay_steps = 12_000  # = run.steps
    config.trained = trained("all")
    config.loss = ConfigDict()
    config.loss.edges = 0.25
    config.loss.kl = 1e-4
    config.loss.characters = 2.0
    config.clip = 3  # latent frames of a piece of a shot
    config.measured = 200  # batches for the latents' mean and standard deviation
    del (
        config.dropout,
        config.text_lr,
        config.mask_weight,
        config.time_weight,
        config.sampler_steps,
        config.guidance,
    )
    del config.context_guidance
    return config
