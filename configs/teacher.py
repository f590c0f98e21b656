"""Stage 1: a text-to-video model learns to make the next shot (flow matching, self-attention weights only).

    python -m shotstream_jax.train --config configs/teacher.py:wan-1.3b --workdir runs/teacher
    python -m shotstream_jax.train --config configs/teacher.py:tiny --workdir out/tiny/teacher

wan-1.3b, the paper's: from Wan 2.1 T2V 1.3B, 10 k steps of 64 clips on 32 GPUs of 80 GB.
tiny: the miniature, on the drawn world. From nothing, so everything is trained, the text encoder too; hours on two
cores. `make train-tiny` runs all of its stages.
Clips come from `python -m shotstream_jax.precompute`.
"""

from ml_collections import ConfigDict

TINY, WAN = "tiny", "wan-1.3b"


def get_config(preset: str = TINY) -> ConfigDict:
    if preset not in (TINY, WAN):
        raise ValueError(f"no preset is called {preset!r}; there are {TINY}, {WAN}")
    wan = preset == WAN
    config = ConfigDict()
    config.stage = "teacher"
    config.start = ConfigDict()
    config.start.checkpoint = "ckpt/wan" if wan else "out/tiny/autoencoder/model"
    config.start.scratch = not wan  # a fresh transformer in place of the checkpoint's
    config.data = ConfigDict()
    config.data.path = "data/clips" if wan else "out/tiny/latents"
    config.data.frames = 21 if wan else 6  # latent frames of a target
    # The paper's teacher is told the target's caption only; later stages have one for each shot. A teacher that starts
    # from nothing must have seen what it will be asked.
    config.data.captions = "target" if wan else "each"
    config.data.targets = "last" if wan else "every"
    config.data.held_out = 0.01 if wan else 0.02
    config.data.workers = 16 if wan else 2
    config.run = ConfigDict()
    config.run.steps = 10_000 if wan else 6_000
    config.run.batch = 64 if wan else 16
    config.run.accumulate = 1
    config.run.seed = 0
    config.run.dtype = "bfloat16" if wan else "float32"
    config.run.remat = "full" if wan else "dots"
    config.run.log_every = 10 if wan else 50
    config.run.save_every = 500
    config.run.keep_last = 2
    config.run.keep_every = 2000 if wan else 0
    config.run.held_out_every = 500
    config.run.held_out_batches = 2 if wan else 16
    config.run.sample_every = 1000 if wan else 2000
    config.mesh = ConfigDict()
    config.mesh.data = 1 if wan else -1  # −1: the devices that the other axes leave
    config.mesh.fsdp = -1 if wan else 1
    config.mesh.sequence = 1
    config.mesh.tensor = 1
    config.optim = optim(1e-5, clip=10.0) if wan else optim(4e-3, clip=1.0)
    if not wan:  # what starts from nothing
        config.optim.b1, config.optim.b2 = 0.9, 0.99
        config.optim.warmup_steps = 300
        config.optim.decay_steps = 6_000  # = run.steps
    config.trained = trained("self_attention" if wan else "all")
    config.trained.ema = 0.0 if wan else 0.999
    config.dropout = ConfigDict()
    config.dropout.context = 0.1
    config.dropout.text = 0.1
    # Of the text encoder; 0: frozen. At the transformer's rate it forgot who does what (docs/tiny.md).
    config.text_lr = 0.0 if wan else 3e-4
    # Characters are a tenth of a picture and a hat some pixels of that: in their boxes an error weighs 5, on a hat 17.
    config.mask_weight = 0.0 if wan else 16.0
    config.time_weight = True
    config.sampler_steps = 50
    config.guidance = 6.0  # of the sampler: v_neg + w·(v_pos − v_neg)
    config.context_guidance = 0.0  # … and c·(v_pos − v without the earlier shots)
    return config


def optim(lr: float, clip: float) -> ConfigDict:
    """AdamW with β₁ = 0 and a constant rate."""
    config = ConfigDict()
    config.lr = lr
    config.clip = clip
    config.weight_decay = 0.01
    config.b2 = 0.999
    config.eps = 1e-8
    config.b1 = 0.0
    config.warmup_steps = 0
    config.decay_steps = 0
    return config


def trained(what: str, rank: int = 256) -> ConfigDict:
    """What moves: all, self_attention or lora; ema: decay of an average of it, 0 for none."""
    config = ConfigDict()
    config.what = what
    config.lora = ConfigDict()
    config.lora.rank = rank
    config.lora.alpha = float(rank)
    config.ema = 0.0
    return config
