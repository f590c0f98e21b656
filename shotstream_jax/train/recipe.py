"""The fields of the training recipes; a wrong value is refused before anything is loaded.

Every wrong value is refused here, before anything is loaded.
"""

import dataclasses
import math

from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.rng import check_seed
from shotstream_jax.core.sharding import MeshConfig
from shotstream_jax.core.values import whole_number
from shotstream_jax.data.samples import DataConfig
from shotstream_jax.dit.conditions import Dropout
from shotstream_jax.dit.trunk import REMAT
from shotstream_jax.generate.sampler import SamplerConfig
from shotstream_jax.nn import half
from shotstream_jax.train.losses.consistency import ConsistencyConfig
from shotstream_jax.train.losses.dmd import DmdConfig
from shotstream_jax.train.losses.reconstruction import ReconstructionConfig
from shotstream_jax.train.losses.truth import TruthConfig
from shotstream_jax.train.optim import OptimConfig
from shotstream_jax.train.state import Trained
from shotstream_jax.world.shots import WorldData

PRECISIONS = ("default", half.PRECISION)
# The least value of each counting field of RunConfig.
_LEAST = {
    "steps": 1,
    "batch": 1,
    "accumulate": 1,
    "log_every": 1,
    "save_every": 1,
    "keep_last": 1,
    "keep_every": 0,
    "held_out_every": 0,
    "held_out_batches": 1,
    "sample_every": 0,
}


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """What a run begins with.

    checkpoint: where sizes, autoencoder, text encoder and the transformer come from (a folder, or
      the name of a shipped model).
    scratch: the networks in training start from fresh values in place of the checkpoint's.
    """

    checkpoint: str
    scratch: bool = False


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How long and how a stage runs. A field …_every counts steps; 0 is never.

    steps: optimiser steps in all.
    batch: stories a step, over all devices. accumulate: the number of micro-batches that it is made
      in.
    dtype: of the matmuls; what is trained is kept in float32.
    precision: of float32 matmuls, by jax's names: "default" is the device's own; "bfloat16" lets a
      processor round what its Linears multiply, as TPUs do by default (nn/half).
    remat: what the backward pass computes again: "none", "full" (all of a layer), "attention" (all
      but its attentions), "dots" (all but those and its Linears).
    keep_last, keep_every: the newest N snapshots are kept, and those of every M-th step.
    """

    steps: int
    batch: int
    accumulate: int = 1
    seed: int = 0
    dtype: str = "float32"
    precision: str = "default"
    remat: str = "none"
    log_every: int = 10
    save_every: int = 100
    keep_last: int = 2
    keep_every: int = 0
    held_out_every: int = 0
    held_out_batches: int = 2
    sample_every: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed, "run.seed", least=0)
        # Counts, each with its least value.
        given = dataclasses.asdict(self)
        for name, least in _LEAST.items():
            number = whole_number(given[name], f"run.{name}")
            if number < least:
                raise InputError(f"run.{name} {number} must be at least {least}")
            object.__setattr__(self, name, number)
        # Micro-batches are equally large, so that their mean is the batch's.
        if self.batch % self.accumulate:
            raise InputError(
                f"run.batch {self.batch} does not divide into run.accumulate {self.accumulate} "
                "pieces"
            )
        if self.dtype not in DTYPES:
            raise InputError(
                f"run.dtype {self.dtype!r} is not known; choose one of {', '.join(DTYPES)}"
            )
        if self.precision not in PRECISIONS:
            raise InputError(
                f"run.precision {self.precision!r} is not known; choose one of "
                f"{', '.join(PRECISIONS)}"
            )
        if self.remat not in ("none", *REMAT):
            raise InputError(
                f"run.remat {self.remat!r} is not known; choose one of none, {', '.join(REMAT)}"
            )


@dataclasses.dataclass(frozen=True)
class TrainRecipe:
    """What every stage has. data: what it is trained on."""

    stage: str
    start: StartConfig
    data: DataConfig | WorldData
    run: RunConfig
    mesh: MeshConfig
    optim: OptimConfig
    trained: Trained

    def __post_init__(self) -> None:
        if self.start.scratch and self.trained.what != "all":
            raise InputError(
                f"start.scratch with trained.what={self.trained.what}: "
                "fresh weights must all be trained"
            )


@dataclasses.dataclass(frozen=True)
class AutoencoderRecipe(TrainRecipe):
    """Before all stages: the autoencoder.

    clip: latent frames of the pieces of shots that are trained on.
    crop_height, crop_width: pixels of these pieces, which lie about a character; 0, 0: whole
      pictures.
    measured: batches from which the latents' mean and standard deviation are measured at the end.
    """

    data: WorldData
    loss: ReconstructionConfig
    clip: int
    crop_height: int = 0
    crop_width: int = 0
    measured: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trained.what != "all":
            raise InputError(
                f"trained.what {self.trained.what!r}: an autoencoder is trained as a whole, use all"
            )
        if not 1 <= self.clip <= self.data.frames:
            raise InputError(f"clip {self.clip} must be from 1 to data.frames, {self.data.frames}")
        if self.measured < 1:
            raise InputError(f"measured {self.measured} must be at least 1")
        if (self.crop_height == 0) != (self.crop_width == 0) or min(self.crop) < 0:
            raise InputError(
                f"crop_height {self.crop_height}, crop_width {self.crop_width}: give both, "
                "or 0 and 0 for whole pictures"
            )

    @property
    def crop(self) -> tuple[int, int]:
        """Rows and columns of pixels that are trained on; zeros for all."""
        return self.crop_height, self.crop_width


@dataclasses.dataclass(frozen=True)
class ShotRecipe(TrainRecipe):
    """What the stages of the transformer have."""

    data: DataConfig
    dropout: Dropout


@dataclasses.dataclass(frozen=True)
class TeacherRecipe(ShotRecipe):
    """Stage 1: the next-shot teacher.

    sampler: of the sample videos.
    text_lr: the learning rate of the text encoder, whose optimiser is `optim` in all else; 0: it is
      frozen. A trained one reads prompts in another way: precompute encodes them again.
    mask_weight: where the data's masks are white, an error weighs 1 + mask_weight
      (train/losses/flow_matching); 0: masks are not needed.
    time_weight: whether noise levels weigh as in the paper, where pure noise has weight 0. False:
      all weigh the same, so that what memory alone can tell, at high noise, is learned too.
    causal: whether it sees no further than its own chunk, behind the true ones: teacher forcing,
      which makes the autoregressive teacher of stage `consistency`.
    truth: how much it counts that an inner layer knows what every latent cell shows
      (train/losses/truth); weight 0: labels are not needed.
    """

    sampler: SamplerConfig
    text_lr: float = 0.0
    mask_weight: float = 0.0
    time_weight: bool = True
    causal: bool = False
    truth: TruthConfig = dataclasses.field(default_factory=TruthConfig)

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
    """The teacher's trajectories that stage 2 learns.

    path: their folder. count: how many. batch: made at a time, over all devices.
    """

    path: str
    count: int
    batch: int
    sampler: SamplerConfig
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed, "pairs.seed", least=0)
        if self.count < 1 or self.batch < 1:
            raise InputError(
                f"pairs.count {self.count} and pairs.batch {self.batch} must be at least 1"
            )


@dataclasses.dataclass(frozen=True)
class OdeRecipe(ShotRecipe):
    """Stage 2: causal initialisation.

    Start: the teacher, who makes the pairs and whom the student starts from.
    """

    pairs: PairsConfig


@dataclasses.dataclass(frozen=True)
class ConsistencyRecipe(ShotRecipe):
    """Stage 2 without pairs: consistency distillation.

    Start: the autoregressive teacher, whom the student starts from. trained.ema: of the weights
    that say what the student should predict; 0: its own.
    """

    consistency: ConsistencyConfig


@dataclasses.dataclass(frozen=True)
class DmdRecipe(ShotRecipe):
    """Stages 3 and 4: distribution matching. start: the student.

    teacher: checkpoint of the real score; the fake score starts from it too.
    critic, fake: the fake score's optimiser, and which of its parameters move.
    shots: of a story (stage 4 only; stage 3 takes the shots of the data). A step is a shot, and one
      step in critic_steps + 1 is the student's: the two numbers must meet in every shot.
    """

    teacher: str
    critic: OptimConfig
    fake: Trained
    distillation: DmdConfig
    shots: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots < 1:
            raise InputError(f"shots {self.shots}: a story needs at least 1")
        # Step i is shot i mod shots, and the student's if i mod period = 0.
        period = self.distillation.critic_steps + 1
        skip = math.gcd(self.shots, period)
        if self.stage == "dmd_inter" and skip > 1:
            raise InputError(
                f"shots {self.shots}, distillation.critic_steps {period - 1}: the student would "
                f"learn of one shot in {skip} only; choose shots that share no divisor with "
                "critic_steps + 1"
            )


RECIPES: dict[str, type[TrainRecipe]] = {
    "autoencoder": AutoencoderRecipe,
    "teacher": TeacherRecipe,
    "ode_init": OdeRecipe,
    "consistency": ConsistencyRecipe,
    "dmd_intra": DmdRecipe,
    "dmd_inter": DmdRecipe,
}
