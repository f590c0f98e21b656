"""The fields of the training recipes. Every wrong value is refused here, before anything is loaded."""

import dataclasses
import math

from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import MeshConfig
from shotstream_jax.data.batches import DataConfig
from shotstream_jax.dit.trunk import REMAT
from shotstream_jax.train.losses.dmd import Distillation
from shotstream_jax.train.losses.flow_matching import Dropout
from shotstream_jax.train.losses.reconstruction import Reconstruction
from shotstream_jax.train.optim import OptimConfig
from shotstream_jax.train.state import Trained
from shotstream_jax.world.shots import WorldData


@dataclasses.dataclass(frozen=True)
class Start:
    """checkpoint: where sizes, autoencoder, text encoder and the transformer come from (a folder or a shipped name).

    scratch: the transformer starts from fresh values in place of the checkpoint's.
    """

    checkpoint: str
    scratch: bool = False


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """steps: optimiser steps in all. batch: stories a step, over all devices. accumulate: pieces that it is made in.

    dtype: of the matmuls; what is trained is kept in float32. remat: what the backward pass computes again: "none",
    "full" (a layer's all), "dots" (all but its Linears and attention). A field …_every counts steps; 0 is never.
    keep_last, keep_every: the newest N checkpoints, and those of every M-th step.
    """

    steps: int
    batch: int
    accumulate: int = 1
    seed: int = 0
    dtype: str = "float32"
    remat: str = "none"
    log_every: int = 10
    save_every: int = 100
    keep_last: int = 2
    keep_every: int = 0
    held_out_every: int = 0
    held_out_batches: int = 2
    sample_every: int = 0

    def __post_init__(self) -> None:
        at_least = {
            "steps": 1,
            "batch": 1,
            "accumulate": 1,
            "log_every": 1,
            "save_every": 1,
            "keep_last": 1,
        }
        at_least |= dict.fromkeys(("keep_every", "held_out_every", "sample_every", "seed"), 0) | {
            "held_out_batches": 1
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"run.{name} {getattr(self, name)} must be at least {least}")
        if self.batch % self.accumulate:
            raise InputError(
                f"run.batch {self.batch} does not divide into run.accumulate {self.accumulate} pieces"
            )
        if self.dtype not in DTYPES:
            raise InputError(
                f"run.dtype {self.dtype!r} is not known; choose one of {', '.join(DTYPES)}"
            )
        if self.remat not in ("none", *REMAT):
            raise InputError(
                f"run.remat {self.remat!r} is not known; choose one of none, {', '.join(REMAT)}"
            )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What every stage has. data: what it is trained on; has the fields frames and workers."""

    stage: str
    start: Start
    data: DataConfig | WorldData
    run: RunConfig
    mesh: MeshConfig
    optim: OptimConfig
    trained: Trained

    def __post_init__(self) -> None:
        if self.start.scratch and self.trained.what != "all":
            raise InputError(
                f"start.scratch with trained.what={self.trained.what}: fresh weights must all be trained"
            )


@dataclasses.dataclass(frozen=True)
class AutoencoderRecipe(Recipe):
    """Before all stages. clip: latent frames of the pieces of shots that are trained on.

    measured: batches that the latents' mean and standard deviation are taken from at the end.
    """

    data: WorldData
    loss: Reconstruction
    clip: int
    measured: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trained.what != "all":
            raise InputError(
                f"trained.what {self.trained.what!r}: of an autoencoder all is trained"
            )
        if not 1 <= self.clip <= self.data.frames:
            raise InputError(f"clip {self.clip} must be from 1 to data.frames, {self.data.frames}")
        if self.measured < 1:
            raise InputError(f"measured {self.measured} must be at least 1")


@dataclasses.dataclass(frozen=True)
class ShotRecipe(Recipe):
    """What the transformer's stages have."""

    data: DataConfig
    dropout: Dropout


@dataclasses.dataclass(frozen=True)
class TeacherRecipe(ShotRecipe):
    """Stage 1. sampler_steps, guidance, context_guidance: of the sample videos, as PairsConfig says.

    text_lr: the rate of the text encoder, whose optimiser is `optim` in all else; 0: it is frozen. One that was trained
    reads prompts in another way: precompute encodes them again.
    mask_weight: where the data's masks are white, an error weighs 1 + so much (flow_matching); 0: masks are not needed.
    time_weight: the paper's weight of noise levels, which vanishes at pure noise; False: all weigh the same, so that
    what memory alone can tell, at high noise, counts.
    """

    text_lr: float = 0.0
    mask_weight: float = 0.0
    time_weight: bool = True
    sampler_steps: int = 50
    guidance: float = 6.0
    context_guidance: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text_lr < 0:
            raise InputError(
                f"text_lr {self.text_lr} must not be negative; 0 freezes the text encoder"
            )
        if self.mask_weight < 0:
            raise InputError(
                f"mask_weight {self.mask_weight} must not be negative; 0 leaves masks out"
            )


@dataclasses.dataclass(frozen=True)
class PairsConfig:
    """The teacher's trajectories. path: their folder. count: how many. batch: made at a time, over all devices.

    guidance: away from the negative prompt, v_neg + w·(v_pos − v_neg). context_guidance: away from a prediction without
    the earlier shots (flow_matching, eq. (2)).
    """

    path: str
    count: int
    batch: int
    sampler_steps: int = 50
    guidance: float = 6.0
    context_guidance: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch < 1 or self.sampler_steps < 1:
            raise InputError(
                f"pairs: count {self.count}, batch {self.batch}, sampler_steps {self.sampler_steps} < 1"
            )


@dataclasses.dataclass(frozen=True)
class OdeRecipe(ShotRecipe):
    """Stage 2. start: the teacher, of whom the pairs are made and from whom the student starts."""

    pairs: PairsConfig


@dataclasses.dataclass(frozen=True)
class DmdRecipe(ShotRecipe):
    """Stages 3 and 4. start: the student. teacher: checkpoint of the real score, where the fake score starts too.

    critic, fake: the fake score's optimiser, and which of its parameters move.
    shots: of a story (stage 4 only; stage 3 takes the shots of the data). A step is a shot, and one step in
    critic_steps + 1 is the student's: the two numbers must meet in every shot.
    """

    teacher: str
    critic: OptimConfig
    fake: Trained
    distillation: Distillation
    shots: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots < 1:
            raise InputError(f"shots {self.shots}: a story has at least 1")
        period = self.distillation.critic_steps + 1
        if self.stage == "dmd_inter" and (skip := math.gcd(self.shots, period)) > 1:
            raise InputError(
                f"shots {self.shots}, distillation.critic_steps {period - 1}: the student would learn of one shot in "
                f"{skip} only; choose shots that share no divisor with critic_steps + 1"
            )


RECIPES: dict[str, type[Recipe]] = {
    "autoencoder": AutoencoderRecipe,
    "teacher": TeacherRecipe,
    "ode_init": OdeRecipe,
    "dmd_intra": DmdRecipe,
    "dmd_inter": DmdRecipe,
}
