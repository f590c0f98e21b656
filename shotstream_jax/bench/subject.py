"""What is measured: a model on a mesh with a format, and programs of it ready to be called."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from shotstream_jax.aot.compile import Program
from shotstream_jax.aot.gpu import traced_for
from shotstream_jax.core.sharding import activation_spec, with_shardings
from shotstream_jax.core.typing import Array
from shotstream_jax.memory import cache
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat


class BenchPart(NamedTuple):
    """A program of the stream or of training, ready to be called.

    frames: pixel frames that one call makes or reads, of all stories; 0 if it has none. carried:
    for a call that takes one of its arguments away (donation): the argument's number, and what
    gives that argument of the next call from the result. passes: how often a call goes through its
    arguments. ways: over how many devices its FLOPs are split.
    """

    name: str
    variant: str
    program: Program
    frames: int = 0
    carried: tuple[int, Callable[[Any], Any]] | None = None
    passes: int = 1
    ways: int = 1

    def call(self) -> Callable[[], Any]:
        """A call of the program that can be repeated."""
        # A copy: what is given away is replaced in it.
        arguments = list(self.program.arguments)

        def call() -> Any:
            """Calls the program; what it took away is replaced for the next call."""
            result = self.program.jitted(*arguments)
            if self.carried:
                number, next_argument = self.carried
                arguments[number] = next_argument(result)
            return result

        return call


class BenchSubject(NamedTuple):
    """What is measured: a model, a format, and a number of stories side by side.

    The model is on a mesh, or on one device without one. abstract: the model's parameters are
    shapes with their shardings, and so is all that is made here.
    """

    model: Model
    video: VideoFormat
    batch: int
    abstract: bool = False

    @property
    def mesh(self) -> Mesh:
        """The model's mesh, if it is on one."""
        mesh = self.model.mesh()
        assert mesh is not None, "the model is not on a mesh"
        return mesh

    @property
    def _device(self) -> jax.sharding.Sharding:
        """Where the transformer is."""
        return jax.tree.leaves(self.model.params["dit"])[0].sharding

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        """While this holds, what is traced is for the subject's devices."""
        # All devices of a model are of one kind.
        devices: set[Any] = self._device.device_set
        first = min(devices, key=lambda device: device.id)
        with self.model.on_mesh(), traced_for(first):
            yield

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a latent frame."""
        return self.model.preset.latent_grid(self.video)

    @property
    def tokens(self) -> int:
        """Tokens of a latent frame."""
        rows, columns = self.model.preset.dit.grid(*self.grid)
        return rows * columns

    def ways(self, *axes: str) -> int:
        """Over how many devices these axes of the mesh split."""
        if self.model.mesh() is None:
            return 1
        return math.prod(self.mesh.shape[axis] for axis in axes)

    @property
    def model_ways(self) -> int:
        """Over how many devices tokens and heads, or the rows of pictures, are split."""
        return self.ways("data", "sequence", "tensor")

    def make(self, f: Callable[[], Any], dims: Any, free: bool = False) -> Any:
        """What f makes, laid out on the mesh (if there is one) by its arrays' dimensions.

        dims: letters as in core/sharding, a tree of them like f's result, or one string for all
        arrays. free: without a mesh the arrays may be moved to another device, as they may in the
        stream; programs would be compiled again for others.
        """
        if self.model.mesh() is None:
            return jax.jit(f, out_shardings=None if free else self._device)()
        with self.tracing():
            shapes = jax.eval_shape(f)
        if isinstance(dims, str):
            letters = dims
            dims = jax.tree.map(lambda _: letters, shapes)

        # From letters and shapes to places on the mesh.
        def place(letters: str, shape: jax.ShapeDtypeStruct) -> NamedSharding:
            """Where one array lies."""
            spec = activation_spec(self.mesh, letters, shape.shape)
            return NamedSharding(self.mesh, spec)

        # Each device makes its own part.
        places = jax.tree.map(place, dims, shapes)
        if self.abstract:
            return with_shardings(shapes, places)
        with self.tracing():
            return jax.jit(f, out_shardings=places)()

    def normal(self, seed: int, shape: tuple[int, ...], dims: str) -> Array:
        """Normal numbers of this shape."""
        return self.make(lambda: jax.random.normal(jax.random.key(seed), shape), dims)

    def latents(self, frames: int) -> Array:
        """Latent frames of all stories, [b, f, h, w, c]."""
        shape = (self.batch, frames, *self.grid, self.model.preset.dit.channels)
        return self.normal(frames, shape, "b f h w c")

    def noise(self) -> Array:
        """The noise of a chunk's steps, [steps, b, f, h, w, c]."""
        preset = self.model.preset
        # One draw for each step of the chunk.
        shape = (
            len(preset.steps.nominal),
            self.batch,
            preset.memory.chunk,
            *self.grid,
            preset.dit.channels,
        )
        draw = functools.partial(jax.random.normal, jax.random.key(0), shape)
        return self.make(draw, "_ b f h w c", free=True)

    def ids(self, frames: int) -> FrameIds:
        """Ids of frames that all are of shot 1."""

        def ones() -> Array:
            """One number for each frame, [b, f]."""
            return jnp.ones((self.batch, frames), jnp.int32)

        return self.make(lambda: FrameIds(ones(), ones()), "b f", free=True)

    def caches(self, fill: int) -> Caches:
        """Caches in which so many frames of the shot are committed.

        Their numbers are random: a GPU multiplies zeros faster.
        """

        def numbers(like: Array) -> Array:
            """Normal numbers, the same for every layer and story."""
            if not jnp.issubdtype(like.dtype, jnp.floating):
                return like
            one = jax.random.normal(jax.random.key(2), like.shape[-3:], like.dtype)
            return jnp.broadcast_to(one, like.shape)

        def filled() -> Caches:
            """The caches, to be made on the mesh."""
            caches = self.model.student.init_caches(self.batch, *self.grid)
            caches = jax.tree.map(numbers, caches)
            return dataclasses.replace(caches, fill=jnp.full(self.batch, fill, jnp.int32))

        with self.tracing():
            shapes = jax.eval_shape(filled)
        return self.make(filled, cache.cache_dims(shapes))

    def text(self) -> Array:
        """Embeddings of a shot's captions, [b, slots, l, e]."""
        cfg = self.model.preset.dit
        slots = self.model.preset.memory.captions
        return self.normal(1, (self.batch, slots, cfg.text_len, cfg.text_dim), "b _ l d")
