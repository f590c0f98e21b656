"""Sections that training recipes share. shotstream_jax/train/recipe.py explains the fields."""

from collections.abc import Callable

from ml_collections import ConfigDict

TINY = "tiny"
TINY_64X96 = "tiny-64x96"
WAN = "wan-1.3b"


def choose(preset: str, recipes: dict[str, Callable[[], ConfigDict]]) -> ConfigDict:
    """The recipe of a preset, which is what stands after the colon of --config."""
    if preset not in recipes:
        names = ", ".join(recipes)
        raise ValueError(f"no preset is called {preset!r}; there are {names}")
    return recipes[preset]()


def start(checkpoint: str, scratch: bool = False) -> ConfigDict:
    """What training starts from; scratch: with a fresh transformer in place of the checkpoint's."""
    config = ConfigDict()
    config.checkpoint = checkpoint
    config.scratch = scratch
    return config


def tiny_data(path: str) -> ConfigDict:
    """Clips of the drawn world."""
    config = ConfigDict()
    config.path = path
    config.frames = 6  # latent frames of a target
    # A model that starts from nothing must have seen what it will be asked: captions of all shots.
    config.captions = "each"
    config.targets = "every"
    config.held_out = 0.02
    config.workers = 2
    return config


def wan_data() -> ConfigDict:
    """Clips at the paper's size."""
    config = ConfigDict()
    config.path = "data/clips"
    config.frames = 21  # latent frames of a target
    config.captions = "each"
    config.targets = "last"
    config.held_out = 0.01
    config.workers = 16
    return config


def tiny_run(steps: int, batch: int) -> ConfigDict:
    """For two processor cores."""
    config = ConfigDict()
    config.steps = steps
    config.batch = batch
    config.accumulate = 1
    config.seed = 0
    config.dtype = "float32"
    config.precision = "default"
    config.remat = "dots"
    config.log_every = 50
    config.save_every = 500
    config.keep_last = 2
    config.keep_every = 0
    config.held_out_every = 500
    config.held_out_batches = 16
    config.sample_every = 2000
    return config


def wan_run(steps: int, batch: int) -> ConfigDict:
    """For dozens of accelerators."""
    config = ConfigDict()
    config.steps = steps
    config.batch = batch
    config.accumulate = 1
    config.seed = 0
    config.dtype = "bfloat16"
    config.precision = "default"
    config.remat = "attention"
    config.log_every = 10
    config.save_every = 500
    config.keep_last = 2
    config.keep_every = 2000
    config.held_out_every = 500
    config.held_out_batches = 2
    config.sample_every = 1000
    return config


def tiny_mesh() -> ConfigDict:
    """Every device has all parameters, and a part of the batch."""
    config = ConfigDict()
    config.data = -1  # -1: the devices that the other axes leave
    config.fsdp = 1
    config.sequence = 1
    config.tensor = 1
    return config


def wan_mesh() -> ConfigDict:
    """Every device has a slice of the parameters, and a part of the batch."""
    config = ConfigDict()
    config.data = 1
    config.fsdp = -1  # -1: the devices that the other axes leave
    config.sequence = 1
    config.tensor = 1
    return config


def optimizer(lr: float, clip: float) -> ConfigDict:
    """AdamW as in the paper: β₁ = 0, a constant rate."""
    config = ConfigDict()
    config.lr = lr
    config.clip = clip
    config.weight_decay = 0.01
    config.b1 = 0.0
    config.b2 = 0.999
    config.eps = 1e-8
    config.warmup_steps = 0
    config.decay = False
    return config


def scratch_optimizer(lr: float, warmup_steps: int) -> ConfigDict:
    """AdamW for what starts from nothing: the rate rises, then falls to 0 at the run's end."""
    config = optimizer(lr, clip=1.0)
    config.b1 = 0.9
    config.b2 = 0.99
    config.warmup_steps = warmup_steps
    config.decay = True
    return config


def trained(what: str, rank: int = 256, ema: float = 0.0) -> ConfigDict:
    """What is trained: "all", "self_attention" or "lora" (adapters of this rank).

    ema: decay of the average of it that is kept too, 0 for none.
    """
    config = ConfigDict()
    config.what = what
    config.lora = ConfigDict()
    config.lora.rank = rank
    config.lora.alpha = float(rank)
    config.ema = ema
    return config


def truth(weight: float, layer: int) -> ConfigDict:
    """How much it counts that a layer knows what each latent cell shows; for data with labels."""
    config = ConfigDict()
    config.weight = weight
    config.layer = layer
    return config


def dropout(context: float = 0.1, text: float = 0.1) -> ConfigDict:
    """How often a story is trained on without its earlier shots, and without its captions."""
    config = ConfigDict()
    config.context = context
    config.text = text
    return config


def guidance(text: float, context: float) -> ConfigDict:
    """How far a prediction is moved away from those that know less (generate/sampler, eq. (1)).

    text: from that under the negative prompt, context: from that without the earlier shots; 0 is
    none. The usual guidance scale w, which counts from the negative prompt, is text + 1.
    """
    config = ConfigDict()
    config.text = text
    config.context = context
    return config


def sampler(text: float, context: float) -> ConfigDict:
    """How a teacher makes a shot: the steps from noise, and the guidance."""
    config = ConfigDict()
    config.steps = 50
    config.guidance = guidance(text, context)
    return config
