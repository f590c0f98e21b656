"""What all stages share: the model's modules, the sizes of a batch, and where its arrays lie."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding, batch_ways
from shotstream_jax.core.typing import AnyArray, Array, DType, Leaf, PRNGKey
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.dit.forcing import Forced
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import FewSteps, Schedule
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.presets import Preset
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.train.network import Network, Origin
from shotstream_jax.train.optim import OptimConfig
from shotstream_jax.train.recipe import RunConfig
from shotstream_jax.train.state import Trained
from shotstream_jax.vae.model import VAE


@dataclasses.dataclass(frozen=True)
class Setup:
    """A model, a run and a mesh.

    grid: rows and columns of a latent frame.
    frames: latent frames of a target shot.
    scores: sizes of the networks that judge a student, where they are not those of the preset: a
      student without shot phases learns from a teacher with them.
    """

    preset: Preset
    run: RunConfig
    mesh: Mesh
    grid: tuple[int, int]
    frames: int
    scores: DiTConfig | None = None

    @property
    def dtype(self) -> DType:
        """The type of the matmuls."""
        return DTYPES[self.run.dtype]

    @property
    def teacher(self) -> Teacher:
        """The bidirectional network, in stage 1 and as a score."""
        return Teacher(self.scores or self.preset.dit, self.dtype, self.run.remat)

    @property
    def student(self) -> Student:
        """The causal network."""
        return Student(self.preset.dit, self.dtype, self.run.remat, memory=self.preset.memory)

    @property
    def forced(self) -> Forced:
        """The causal network behind true history."""
        dit = self.preset.dit
        return Forced(dit, self.dtype, self.run.remat, memory=self.preset.memory)

    @property
    def vae(self) -> VAE:
        """The autoencoder, in float32."""
        return VAE(self.preset.vae)

    @property
    def text(self) -> UMT5:
        """The text encoder."""
        return UMT5(self.preset.text, self.dtype)

    @property
    def steps(self) -> FewSteps:
        """The student's denoising steps."""
        return self.preset.steps

    @property
    def schedule(self) -> Schedule:
        """The training table of noise levels."""
        return Schedule(shift=self.preset.steps.shift)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Of a latent frame: (h, w, c)."""
        return (*self.grid, self.preset.dit.channels)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Of a batch of target shots: (b, f, h, w, c)."""
        return (self.run.batch, self.frames, *self.latent_shape)

    @property
    def frame_tokens(self) -> int:
        """Tokens of a latent frame."""
        return math.prod(self.preset.dit.grid(*self.grid))

    @property
    def whole(self) -> Leaf:
        """The sharding of an array that every device has all of."""
        return NamedSharding(self.mesh, PartitionSpec())

    def key(self, name: str, *indices: int | AnyArray) -> PRNGKey:
        """One of the run's random streams.

        The root is the run's seed, so a resumed run draws what it would have drawn.
        """
        return rng.stream(rng.seed_key(self.run.seed), name, *indices)

    def network(self, origin: Origin, trained: Trained, optim: OptimConfig) -> Network:
        """A network that this run trains."""
        return Network(origin, trained, optim, self.run.steps, self.dtype)


def check_train_mesh(preset: Preset, run: RunConfig, mesh: Mesh, grid: tuple[int, int]) -> None:
    """Refuses a batch, heads or a frame that the mesh cannot divide."""
    # Each micro-batch is divided over the devices along data and fsdp.
    ways = batch_ways(mesh)
    if (run.batch // run.accumulate) % ways:
        raise InputError(
            f"run.batch {run.batch} in {run.accumulate} pieces does not divide over "
            f"data × fsdp = {ways} devices: make it a multiple of {ways * run.accumulate}"
        )
    preset.check_mesh(mesh.shape, grid)


def to_devices(mesh: Mesh, rows: Any, size: int) -> Any:
    """This process's rows, a pytree of numpy arrays → global arrays of `size` rows."""

    # Each process hands in the rows that its devices hold; together they are one array.
    def place(a: Any) -> Array:
        """This process's part of a global array."""
        sharding = batch_sharding(mesh, a.ndim)
        return jax.make_array_from_process_local_data(sharding, a, (size, *a.shape[1:]))

    return jax.tree.map(place, rows)


def abstract_batch(setup: Setup, shape: tuple[int, ...], dtype: Any) -> Leaf:
    """An array of a batch without data: [b, *shape], for compiling ahead of time."""
    shape = (setup.run.batch, *shape)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(setup.mesh, len(shape)))


def abstract_conditions(setup: Setup, slots: int) -> Conditions:
    """The conditions of a batch without data. slots: of captions."""
    memory = setup.preset.memory
    cfg = setup.preset.dit
    ids = abstract_batch(setup, (memory.context + 1,), jnp.int32)
    return Conditions(
        context=abstract_batch(setup, (memory.context, *setup.latent_shape), jnp.float32),
        ids=FrameIds(phase=ids, caption=ids),
        text=abstract_batch(setup, (slots, cfg.text_len, cfg.text_dim), setup.dtype),
    )


def shardings_of(tree: Any) -> Any:
    """Where each array of a tree lies."""
    return jax.tree.map(lambda a: a.sharding, tree)
