"""What all stages share: the model's modules, the networks in training, and where every array of a run lies."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding, batch_ways, param_shardings, with_shardings
from shotstream_jax.core.typing import Array
from shotstream_jax.dit.conditions import Batch, Conditions
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import FewSteps, Schedule
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.model import Params, abstract_params, compute_params
from shotstream_jax.presets import Preset
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.train.optim import OptimConfig, make_optimizer
from shotstream_jax.train.recipe import Recipe, RunConfig
from shotstream_jax.train.state import Trained, TrainState, init_state, state_shardings
from shotstream_jax.train.step import Loss, Metrics, train_step
from shotstream_jax.vae.model import VAE

State = dict[
    str, Any
]  # a TrainState for every network in training, and what else a stage carries on
Frozen = dict[str, Any]  # what its steps read and never change


@dataclasses.dataclass(frozen=True)
class Setup:
    """A model, a run and a mesh.

    grid: rows and columns of a latent frame. frames: of a target shot. scores: sizes of the networks that judge a
    student, where they are not those of the preset: a student without shot phases learns from a teacher with them.
    """

    preset: Preset
    run: RunConfig
    mesh: Mesh
    grid: tuple[int, int]
    frames: int
    scores: DiTConfig | None = None

    @property
    def dtype(self) -> jnp.dtype:
        return DTYPES[self.run.dtype]

    @property
    def teacher(self) -> Teacher:
        return Teacher(self.scores or self.preset.dit, self.dtype, self.run.remat)

    @property
    def student(self) -> Student:
        return Student(self.preset.dit, self.dtype, self.run.remat, memory=self.preset.memory)

    @property
    def vae(self) -> VAE:
        return VAE(self.preset.vae)

    @property
    def text(self) -> UMT5:
        return UMT5(self.preset.text, self.dtype)

    @property
    def steps(self) -> FewSteps:
        return self.preset.steps

    @property
    def schedule(self) -> Schedule:
        return Schedule(shift=self.preset.steps.shift)

    @property
    def latent(self) -> tuple[int, int, int]:
        """A latent frame's shape."""
        return (*self.grid, self.preset.dit.channels)

    @property
    def target(self) -> tuple[int, ...]:
        """A batch of target shots."""
        return (self.run.batch, self.frames, *self.latent)

    def key(self, name: str, *indices: int | Array) -> rng.PRNGKey:
        """One of the run's random streams. The root is the run's seed: a resumed run draws what it would have drawn."""
        return rng.stream(jax.random.key(self.run.seed), name, *indices)

    @property
    def whole(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())


def check_mesh(preset: Preset, recipe: Recipe, mesh: Mesh, grid: tuple[int, int]) -> None:
    """Refuses a batch, heads or a frame that the mesh cannot deal out."""
    piece, ways = recipe.run.batch // recipe.run.accumulate, batch_ways(mesh)
    if piece % ways:
        least = ways * recipe.run.accumulate
        raise InputError(
            f"run.batch {recipe.run.batch} in {recipe.run.accumulate} pieces does not divide over data × fsdp = {ways} "
            f"devices: make it a multiple of {least}"
        )
    preset.check_mesh(mesh.shape, grid)


class Origin(NamedTuple):
    """Weights that a run begins with: a part ("dit", "vae", "text") of a checkpoint ("start", "teacher")."""

    checkpoint: str
    part: str


@dataclasses.dataclass(frozen=True)
class Network:
    """One network in training, and where it starts."""

    trained: Trained
    optim: OptimConfig
    origin: Origin

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        return make_optimizer(self.optim)

    def params(self, state: TrainState, frozen: Params, dtype: jnp.dtype) -> Params:
        """All its parameters as a pass computes with them."""
        return compute_params(self.trained.join(state.moves, frozen), dtype)

    def step(
        self, state: TrainState, rows: Any, loss: Loss, pieces: int
    ) -> tuple[TrainState, Metrics, Any]:
        """One optimiser step on a loss of what moves."""
        return train_step(state, rows, loss, self.optimizer, self.trained, pieces)

    def averaged(self, state: TrainState, frozen: Params) -> Params:
        """The parameters to keep: of the average, if there is one; float32."""
        return self.trained.join(state.moves if state.ema is None else state.ema, frozen)

    @property
    def rules(self) -> str:
        """The name of the sharding rules of what moves."""
        return "lora" if self.trained.what == "lora" else self.origin.part


@dataclasses.dataclass(frozen=True)
class Networks:
    """All of a stage's networks. fixed: name → the weights that it has, never trained."""

    moving: Mapping[str, Network]
    fixed: Mapping[str, Origin] = dataclasses.field(default_factory=dict)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """All weights that `start` needs, on every process in the same order."""
        return tuple(
            sorted({network.origin for network in self.moving.values()} | set(self.fixed.values()))
        )

    def start(self, setup: Setup, loaded: Mapping[Origin, Params]) -> tuple[State, Frozen]:
        """State and frozen parameters from the loaded weights. Traceable."""
        state, frozen = {}, {}
        for i, (name, network) in enumerate(self.moving.items()):
            moves, frozen[name] = network.trained.split(
                loaded[network.origin], setup.key("adapter", i)
            )
            state[name] = init_state(network.trained, network.optimizer, moves)
        for name, origin in self.fixed.items():
            frozen[name] = compute_params(loaded[origin], setup.dtype)
        return state, frozen

    def shardings(self, setup: Setup, state: State, frozen: Frozen) -> tuple[State, Frozen]:
        """Where all of it lies, from its shapes."""
        parts = {name: network.origin.part for name, network in self.moving.items()}
        parts |= {name: origin.part for name, origin in self.fixed.items()}
        return (
            {
                name: state_shardings(setup.mesh, network.rules, state[name])
                for name, network in self.moving.items()
            },
            {name: param_shardings(setup.mesh, parts[name], tree) for name, tree in frozen.items()},
        )

    def abstract(self, setup: Setup) -> tuple[State, Frozen]:
        """State and frozen parameters as shapes with their shardings; no array is made."""
        loaded = {origin: abstract_params(setup.preset, origin.part) for origin in self.origins}
        shapes = jax.eval_shape(functools.partial(self.start, setup), loaded)
        return with_shardings(shapes, self.shardings(setup, *shapes))


def shardings_of(tree: Any) -> Any:
    return jax.tree.map(lambda a: a.sharding, tree)


def jit_step(step: Callable[..., Any], state: State, outputs: int) -> Callable[..., Any]:
    """Compiles (state, …) → (state, outputs …); the state is donated and stays where it lies."""
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings_of(state), *(None,) * outputs))


def to_devices(mesh: Mesh, rows: Mapping[str, np.ndarray], size: int) -> dict[str, Array]:
    """This process's rows → global arrays of `size` rows."""

    def place(a: np.ndarray) -> Array:
        shape = (size, *a.shape[1:])
        return jax.make_array_from_process_local_data(batch_sharding(mesh, a.ndim), a, shape)

    return {name: place(a) for name, a in rows.items()}


def conditions_of(rows: Mapping[str, Array]) -> Conditions:
    """A pipeline's rows as conditions …"""
    return Conditions(rows["context"], FrameIds(rows["phase"], rows["caption"]), rows["text"])


def batch_of(rows: Mapping[str, Array]) -> Batch:
    """… and as targets with them."""
    return Batch(rows["target"], conditions_of(rows))


def abstract_rows(setup: Setup, slots: int, target: bool = True) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a global batch, for compiling without data."""
    b, preset = setup.run.batch, setup.preset
    shapes = {
        "context": ((b, preset.memory.context, *setup.latent), jnp.float32),
        "phase": ((b, preset.memory.context + 1), jnp.int32),
        "caption": ((b, preset.memory.context + 1), jnp.int32),
        "text": ((b, slots, preset.dit.text_len, preset.dit.text_dim), setup.dtype),
    }
    if target:
        shapes["target"] = (setup.target, jnp.float32)
    place = lambda shape: batch_sharding(setup.mesh, len(shape))  # noqa: E731
    return {
        name: jax.ShapeDtypeStruct(s, dtype, sharding=place(s))
        for name, (s, dtype) in shapes.items()
    }
