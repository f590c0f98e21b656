"""What the loop asks of a stage (train/run/loop), and how a stage's steps are compiled.

A stage is a value: its recipe and its setup. What changes is its state, a dataclass of arrays; what
its steps only read is `fixed`, another. So a step is a function

    (stage, state, fixed, batch, number of the step) → (new state, metrics)

that can be read from top to bottom; `compiled_step` compiles it once.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.sharding import with_shardings
from shotstream_jax.core.typing import Array, Params
from shotstream_jax.data.batches import RandomAccess
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.samples import DataConfig, find_samples
from shotstream_jax.model import abstract_params
from shotstream_jax.presets import Preset
from shotstream_jax.train.network import Origin, Weights
from shotstream_jax.train.setup import Setup, shardings_of
from shotstream_jax.train.step import Metrics
from shotstream_jax.world.shots import World

TrainingData = Dataset | World
StageState = Any  # each stage has a dataclass of its own
StageFixed = Any
Pictures = Array  # uint8 [b, p, y, x, 3]


class Source(NamedTuple):
    """What batches are made of.

    train, held_out: samples by whatever names them; they share no clip.
    load: a sample → its row, a pytree of numpy arrays.
    fps: of the pictures.
    left_out: what could not be used, and how much of it.
    identity: a checksum of the samples and what made them; "" where the recipe says it all.
    """

    train: RandomAccess
    held_out: RandomAccess
    load: Callable[[Any], Any]
    fps: int
    left_out: Mapping[str, int]
    identity: str = ""


class Stage(Protocol):
    """A stage of training. Steps count from 0."""

    def __hash__(self) -> int:
        """Stages are values: a program is compiled once for equal ones."""

    @property
    def setup(self) -> Setup:
        """Modules, sizes and mesh."""

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """Those among them that `fixed` is made of: all that a resumed run loads."""

    @property
    def negative(self) -> str:
        """What `fixed` needs of the negative prompt: "none", "embedding" or "tokens"."""

    def initial_state(self, weights: Weights) -> StageState:
        """The state before the first step. Traceable."""

    def fixed(self, weights: Weights, negative: Array | None) -> StageFixed:
        """What the steps only read. Traceable."""

    def shardings(self, state: StageState, fixed: StageFixed) -> tuple[StageState, StageFixed]:
        """Where all arrays lie, from their shapes."""

    def source(self, data: Any, start: Checkpoint) -> Source:
        """What is trained on. start: the checkpoint, for its tokeniser.

        Raises InputError if there is nothing to train on.
        """

    def batch_index(self, step: int) -> int:
        """The number of the global batch that a step belongs to."""

    def step(
        self, i: int, state: StageState, fixed: StageFixed, batch: Any
    ) -> tuple[StageState, Metrics]:
        """One optimiser step. The state is donated."""

    def held_out(self, state: StageState, fixed: StageFixed, batch: Any, number: int) -> Metrics:
        """Losses on a batch that is never trained on; the same draws every time."""

    def sample(
        self, state: StageState, fixed: StageFixed, batch: Any, decode: Callable[[Array], Pictures]
    ) -> list[Pictures]:
        """Shots to look at, made by the network in training; always the same draws.

        decode: latents [b, f, h, w, c] → pictures, by the checkpoint's autoencoder.
        """

    def trained_parts(self, state: StageState, fixed: StageFixed) -> dict[str, Params]:
        """The parts of a checkpoint that the stage is for, float32. Traceable."""

    def trained_preset(self, trained: dict[str, Params], batches: Iterator[Any]) -> Preset:
        """The model's sizes with the trained parts. batches: to train on, from the first one."""

    def flops(self, i: int) -> float:
        """Floating-point operations of step i, all stories, counted by formula."""

    def programs(self, state: StageState, fixed: StageFixed) -> Iterator[Program]:
        """Everything that a training step runs, with abstract arguments."""


@functools.cache
def abstract_start(stage: Stage) -> tuple[StageState, StageFixed]:
    """State and fixed arrays as shapes with their shardings; no array is made.

    Traced once for a stage.
    """
    setup = stage.setup
    # Shapes of what would be loaded …
    weights = {}
    for origin in stage.origins:
        weights[origin] = abstract_params(setup.preset, origin.part)
    # … of what the stage makes of it …
    state = jax.eval_shape(stage.initial_state, weights)
    fixed = jax.eval_shape(stage.fixed, weights, abstract_negative(stage))
    # … and where all of that lies.
    shapes = (state, fixed)
    return with_shardings(shapes, stage.shardings(*shapes))


def abstract_negative(stage: Stage) -> jax.ShapeDtypeStruct | None:
    """The shape of what the stage needs of the negative prompt."""
    cfg = stage.setup.preset.dit
    if stage.negative == "none":
        return None
    if stage.negative == "tokens":
        return jax.ShapeDtypeStruct((1, cfg.text_len), "int32")
    return jax.ShapeDtypeStruct((1, cfg.text_len, cfg.text_dim), "float32")


@functools.cache
def compiled_step(step: Callable[..., Any], stage: Stage, outputs: int = 1) -> Any:
    """step(stage, state, …) → (state, outputs …), compiled once for a stage.

    The state is donated, and the new one lies where the old one lay.
    """
    state, _ = abstract_start(stage)

    def run(*arguments: Any) -> Any:
        """The function with the stage put in."""
        with _precision(stage):
            return step(stage, *arguments)

    run.__name__ = step.__name__
    return jax.jit(run, donate_argnums=0, out_shardings=(shardings_of(state), *(None,) * outputs))


@functools.cache
def compiled(function: Callable[..., Any], stage: Stage) -> Any:
    """function(stage, …), compiled once for a stage."""

    def run(*arguments: Any) -> Any:
        """The function with the stage put in."""
        with _precision(stage):
            return function(stage, *arguments)

    run.__name__ = function.__name__
    return jax.jit(run)


def _precision(stage: Stage) -> contextlib.AbstractContextManager[None]:
    """What float32 matmuls are traced under: the recipe's precision, or the caller's own."""
    name = stage.setup.run.precision
    if name == "default":
        return contextlib.nullcontext()
    return jax.default_matmul_precision(name)


def shots_source(dataset: Dataset, cfg: DataConfig, load: Callable[[Any], Any]) -> Source:
    """Target shots, for the stages that train on real ones."""
    found = find_samples(dataset, cfg)
    fps = dataset.settings.fps
    return Source(found.train, found.held_out, load, fps, found.lost, dataset.fingerprint)
