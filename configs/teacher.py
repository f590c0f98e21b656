"""Stage 1: a text-to-video model learns to make the next shot, by flow matching.

    shotstream train --config teacher:wan-1.3b --workdir runs/teacher
    shotstream train --config teacher:tiny --workdir out/tiny/teacher

wan-1.3b, the paper's: the self-attention weights of Wan 2.1 T2V 1.3B, 10 k steps of 64 clips on 32
GPUs of 80 GB. tiny: the miniature, on the drawn world. It starts from nothing, so everything is
trained, the text encoder too; hours on two cores. `make train-tiny` runs all of its stages. Clips
come from `shotstream precompute`.
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
    config.stage = "teacher"
    config.start = common.start("ckpt/wan")
    config.data = common.wan_data()
    config.data.captions = "target"  # the paper's teacher has no other shot's caption
    config.run = common.wan_run(steps=10_000, batch=64)
    config.mesh = common.wan_mesh()
    config.optim = common.optimizer(lr=1e-5, clip=10.0)
    config.trained = common.trained("self_attention")
    config.dropout = common.dropout()
    config.text_lr = 0.0  # the text encoder is frozen
    config.mask_weight = 0.0  # every pixel counts the same
    config.time_weight = True
    config.truth = common.truth(weight=0.0, layer=1)  # no head that says what there is to see
    config.causal = False  # the causal one: causal_teacher.py
    config.sampler = common.sampler(text=5.0, context=0.0)  # of the sample videos
    return config


def tiny() -> ConfigDict:
    """The miniature, for two processor cores."""
    config = ConfigDict()
    config.stage = "teacher"
    config.start = common.start("out/tiny/autoencoder/model", scratch=True)
    config.data = common.tiny_data("out/tiny/latents")
    config.run = common.tiny_run(steps=6_000, batch=16)
    config.mesh = common.tiny_mesh()
    config.optim = common.scratch_optimizer(lr=4e-3, warmup_steps=300)
    config.trained = common.trained("all", ema=0.999)
    config.dropout = common.dropout()
    # Of the text encoder. At the transformer's rate it forgot who does what (docs/tiny.md).
    config.text_lr = 3e-4
    # Characters are a tenth of a picture and a hat some pixels of that: in their boxes an error
    # weighs 5, on a hat 17.
    config.mask_weight = 16.0
    config.time_weight = True
    config.truth = common.truth(weight=0.0, layer=3)  # no head that says what there is to see
    config.causal = False  # the causal one: causal_teacher.py
    config.sampler = common.sampler(text=5.0, context=0.0)  # of the sample videos
    return config
