"""Before the stages: the miniature's autoencoder, on shots that are drawn as they are needed.

    shotstream train --config autoencoder:tiny --workdir out/tiny/autoencoder

tiny: from nothing, an hour on two cores. The pictures are the drawn world's `simple` subset in the
preset's own format; what is held out is its `test` split. tiny-64x96: the same for the `large`
subset. WORKDIR/model has the trained autoencoder
and the latents' mean and standard deviation; its transformer and text encoder are the checkpoint's.
Wan's autoencoder is taken as it is, so there is no other size.
"""

from ml_collections import ConfigDict

from shotstream_jax.configs import common
from shotstream_jax.configs.common import TINY, TINY_64X96


def get_config(preset: str = TINY) -> ConfigDict:
    """The recipe of a preset: the text after the colon of --config."""
    return common.choose(preset, {TINY: tiny, TINY_64X96: tiny_64x96})


def tiny_64x96() -> ConfigDict:
    """The larger miniature, for two processor cores."""
    config = tiny()
    config.start = common.start("out/tiny-64x96/start", scratch=True)
    config.data.subset = "large"
    config.run.steps = 14_000
    # A quarter of a picture, about a character: backgrounds are learned soon.
    config.crop_height = 32
    config.crop_width = 48
    # Longer than a shot: what was never trained on so late falls apart.
    config.data.frames = 12
    config.clip = 11
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = ConfigDict()
    config.stage = "autoencoder"
    # The checkpoint gives sizes; its autoencoder is replaced by fresh values.
    config.start = common.start("tiny", scratch=True)
    config.data = ConfigDict()
    config.data.subset = "simple"
    config.data.frames = 6  # latent frames of a shot
    config.data.stories = 1_000_000
    config.data.held_out = 1000
    config.data.workers = 1
    config.data.processes = 0  # the threads draw themselves
    config.data.seed = 0
    config.run = common.tiny_run(steps=12_000, batch=2)
    config.run.remat = "none"
    config.run.held_out_every = 1000
    config.run.sample_every = 4000
    config.mesh = common.tiny_mesh()
    config.optim = common.scratch_optimizer(lr=1.5e-3, warmup_steps=100)
    config.optim.weight_decay = 0.0
    config.trained = common.trained("all")
    config.loss = ConfigDict()
    config.loss.edges = 0.25
    config.loss.kl = 1e-4
    config.loss.characters = 2.0
    config.clip = 3  # latent frames of a piece of a shot
    config.crop_height = 0  # pixel rows and columns of a piece; 0: whole pictures
    config.crop_width = 0
    config.measured = 200  # batches for the latents' mean and standard deviation
    return config
