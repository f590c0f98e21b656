"""The parts of the stream as programs with their arguments and FLOPs.

They are timed (bench/measure), or compiled ahead of time for devices that are not there
(bench/aot).
"""

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
from shotstream_jax.bench.count import counted_program
from shotstream_jax.bench.models import decoder_params, empty_state, smaller_decoders
from shotstream_jax.core.sharding import activation_spec, with_shardings
from shotstream_jax.core.typing import Array
from shotstream_jax.dit.student import Student
from shotstream_jax.generate import shot
from shotstream_jax.memory import cache
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Model, Params
from shotstream_jax.presets import VideoFormat
from shotstream_jax.text.encode import encode_prompt
from shotstream_jax.train import flops
from shotstream_jax.vae.codec import AnyDecoder, make_decoder


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
    """What is measured: a model on a mesh, a format, and a number of stories side by side.

    abstract: the model's parameters are shapes with their shardings, and so is all that is made
    here.
    """

    model: Model
    video: VideoFormat
    batch: int
    abstract: bool = False

    @property
    def mesh(self) -> Mesh:
        """The model's mesh."""
        mesh = self.model.mesh()
        assert mesh is not None, "a model that is measured is on a mesh"
        return mesh

    @contextlib.contextmanager
    def tracing(self) -> Iterator[None]:
        """While this holds, what is traced is for the subject's devices."""
        with self.model.on_mesh(), traced_for(self.mesh.devices.flat[0]):
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
        return math.prod(self.mesh.shape[axis] for axis in axes)

    @property
    def model_ways(self) -> int:
        """Over how many devices tokens and heads, or the rows of pictures, are split."""
        return self.ways("data", "sequence", "tensor")

    def make(self, f: Callable[[], Any], dims: Any) -> Any:
        """What f makes, laid out on the mesh by its arrays' dimensions.

        dims: letters as in core/sharding, a tree of them like f's result, or one string for all
        arrays.
        """
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
        shape = (
            len(preset.steps.nominal),
            self.batch,
            preset.memory.chunk,
            *self.grid,
            preset.dit.channels,
        )
        return self.normal(0, shape, "_ b f h w c")

    def ids(self, frames: int) -> FrameIds:
        """Ids of frames that all are of shot 1."""

        def ones() -> Array:
            """One number for each frame, [b, f]."""
            return jnp.ones((self.batch, frames), jnp.int32)

        return self.make(lambda: FrameIds(ones(), ones()), "b f")

    def caches(self, fill: int) -> Caches:
        """Caches of zeros in which so many frames of the shot are committed."""

        def filled() -> Caches:
            """The caches, to be made on the mesh."""
            caches = self.model.student.init_caches(self.batch, *self.grid)
            return dataclasses.replace(caches, fill=jnp.full(self.batch, fill, jnp.int32))

        with self.tracing():
            shapes = jax.eval_shape(filled)
        return self.make(filled, cache.cache_dims(shapes))

    def text(self) -> Array:
        """Embeddings of a shot's captions, [b, slots, l, e]."""
        cfg = self.model.preset.dit
        slots = self.model.preset.memory.captions
        return self.normal(1, (self.batch, slots, cfg.text_len, cfg.text_dim), "b _ l d")


def text_parts(subject: BenchSubject) -> Iterator[BenchPart]:
    """The text encoder, on prompts of the full length."""
    model = subject.model
    batch = subject.batch
    length = model.preset.dit.text_len
    # Tokens of a whole prompt [b, l], all of them valid [b].
    ids = subject.make(lambda: jnp.ones((batch, length), jnp.int32), "b l")
    valid = subject.make(lambda: jnp.full(batch, length), "b")
    # Split by stories and widths; its tokens are not split over `sequence`.
    program = counted_program(
        "encode_prompt", encode_prompt, model.text, model.params["text"], ids, valid
    )
    yield BenchPart("text", f"{length} tokens", program, ways=subject.ways("data", "tensor"))


def prefill_parts(subject: BenchSubject) -> Iterator[BenchPart]:
    """The pass that puts a shot's context frames and captions into the caches."""
    model = subject.model
    memory = model.preset.memory
    # Every context token sees all of them, and the captions' keys are made anew.
    tokens = memory.context * subject.tokens
    count = subject.batch * flops.forward_flops(model.preset.dit, tokens, tokens, memory.captions)
    arguments = (
        model.student,
        model.params["dit"],
        subject.latents(memory.context),
        subject.ids(memory.context),
        subject.text(),
        subject.caches(0),
    )
    yield BenchPart(
        "prefill",
        f"{memory.context} frames, {memory.captions} captions",
        Program("prefill", shot.prefill, arguments, count),
        carried=(5, _same_caches),
        ways=subject.model_ways,
    )


def dit_parts(subject: BenchSubject) -> Iterator[BenchPart]:
    """One denoising pass over a shot's first chunk, and over its last: what the history costs."""
    model = subject.model
    chunk = model.preset.memory.chunk
    # A chunk [b, f, h, w, c] in the middle of its noise levels, t [b].
    x = subject.latents(chunk)
    ids = subject.ids(chunk)
    t = subject.make(lambda: jnp.full(subject.batch, 500.0), "b")
    for fill in _fills(subject):
        arguments = (model.student, model.params["dit"], x, t, ids, subject.caches(fill))
        yield BenchPart(
            "pass",
            _chunk_name(subject, fill),
            Program("denoise", _denoising_pass, arguments, _pass_flops(subject, fill)),
            carried=(5, _same_caches),
            ways=subject.model_ways,
        )


def chunk_parts(subject: BenchSubject) -> Iterator[BenchPart]:
    """All denoising steps of a chunk, and what puts it into the cache; a shot's first and last."""
    # The same noise and ids for both chunks; each program has its own caches.
    noise = subject.noise()
    ids = subject.ids(subject.model.preset.memory.chunk)
    for fill in _fills(subject):
        yield _steps_part(subject, fill, noise, ids)
        yield _commit_part(subject, fill, ids)


def _steps_part(subject: BenchSubject, fill: int, noise: Array, ids: FrameIds) -> BenchPart:
    """The denoising steps of the chunk behind `fill` frames."""
    model = subject.model
    steps = model.preset.steps
    passes = len(steps.nominal)
    arguments = (
        model.student,
        model.params["dit"],
        noise,
        ids,
        subject.caches(fill),
        steps,
    )
    count = passes * _pass_flops(subject, fill)
    return BenchPart(
        "chunk",
        _chunk_name(subject, fill),
        Program("chunk_step", shot.chunk_step, arguments, count),
        frames=_chunk_frames(subject),
        carried=(4, lambda result: result[1]),
        passes=passes,
        ways=subject.model_ways,
    )


def _commit_part(subject: BenchSubject, fill: int, ids: FrameIds) -> BenchPart:
    """The pass that writes the chunk behind `fill` frames into the cache."""
    model = subject.model
    chunk = model.preset.memory.chunk
    layers = model.preset.dit.layers
    arguments = (
        model.student,
        model.params["dit"],
        subject.latents(chunk),
        ids,
        subject.caches(fill),
    )
    # The last layer makes keys and values only.
    count = (layers - 1) / layers * _pass_flops(subject, fill)
    return BenchPart(
        "commit",
        _chunk_name(subject, fill),
        Program("commit", shot.commit, arguments, count),
        frames=_chunk_frames(subject),
        carried=(4, functools.partial(_take_back, chunk)),
        ways=subject.model_ways,
    )


def vae_parts(subject: BenchSubject) -> Iterator[BenchPart]:
    """Decoding a shot's first chunk and a later one, and encoding a context frame."""
    vae = subject.model.vae
    params = subject.model.params["vae"]
    yield from _decoding(subject, "decode", "", vae, params)
    # A context frame is a picture that was decoded, [b, y, x, 3].
    shape = (subject.batch, subject.video.height, subject.video.width, 3)
    frame = subject.make(lambda: jnp.zeros(shape), "b y x c")
    yield BenchPart(
        "encode",
        "a context frame",
        counted_program("encode_frame", shot.encode_context_frame, vae, params, frame),
        ways=subject.model_ways,
    )


def decode_parts(subject: BenchSubject) -> Iterator[BenchPart]:
    """Decoding a shot's first chunk and a later one with each smaller decoder that there is."""
    dtype = subject.model.dtype
    for kind, cfg in smaller_decoders(subject.model.preset.vae).items():
        params = decoder_params(cfg, dtype, subject.mesh, subject.abstract)
        yield from _decoding(subject, kind, f", {kind}", make_decoder(cfg, dtype), params)


def _decoding(
    subject: BenchSubject, name: str, suffix: str, decoder: AnyDecoder, params: Params
) -> Iterator[BenchPart]:
    """A shot's first chunk and a later one. name, suffix: of the programs, and of the variants."""
    preset = subject.model.preset
    chunk = preset.memory.chunk
    z = subject.latents(chunk)
    # A shot's first latent frame is one pixel frame, every later one `time` of them.
    yield BenchPart(
        "decode",
        f"a shot's first chunk{suffix}",
        counted_program(f"{name}_first", shot.decode_first_chunk, decoder, params, z),
        frames=subject.batch * preset.vae.pixel_frames(chunk),
        ways=subject.model_ways,
    )
    # A later chunk goes on from the state that the chunk before it has left.
    stream = subject.make(empty_state(decoder, params, z), "b p y x c")
    yield BenchPart(
        "decode",
        f"a later chunk{suffix}",
        counted_program(f"{name}_next", shot.decode_next_chunk, decoder, params, z, stream),
        frames=_chunk_frames(subject),
        carried=(3, lambda result: result[0]),
        ways=subject.model_ways,
    )


@functools.partial(jax.jit, static_argnames="student", donate_argnames="caches")
def _denoising_pass(
    student: Student, params: Params, x: Array, t: Array, ids: FrameIds, caches: Caches
) -> Caches:
    """One pass; its velocity is used, so that it must be computed, and changes nothing."""
    result: Any = student.apply({"params": params}, x, t, ids, caches, method="denoise")
    v, caches = result  # v: [b, f, h, w, c]
    nothing = 0 * jnp.sum(v).astype(jnp.int32)
    return dataclasses.replace(caches, fill=caches.fill + nothing)


def _same_caches(caches: Caches) -> Caches:
    """The next call's caches, where a call returns nothing else."""
    return caches


def _take_back(chunk: int, caches: Caches) -> Caches:
    """Caches without the chunk that was committed, so that the next call writes it again."""
    return dataclasses.replace(caches, fill=caches.fill - chunk)


def _fills(subject: BenchSubject) -> list[int]:
    """Frames that are committed before a shot's first chunk and its last, which may be the same."""
    last = subject.video.shot_frames - subject.model.preset.memory.chunk
    return [0] if last == 0 else [0, last]


def _chunk_name(subject: BenchSubject, fill: int) -> str:
    """The chunk that follows so many frames, counted from 1."""
    return f"chunk {fill // subject.model.preset.memory.chunk + 1}"


def _chunk_frames(subject: BenchSubject) -> int:
    """Pixel frames of a chunk, of all stories."""
    preset = subject.model.preset
    return subject.batch * preset.memory.chunk * preset.vae.time


def _pass_flops(subject: BenchSubject, fill: int) -> float:
    """FLOPs of a pass over the chunk behind `fill` frames, all stories."""
    preset = subject.model.preset
    memory = preset.memory
    # Frames that a chunk sees: the context, and the window up to itself.
    seen = memory.context + min(fill + memory.chunk, memory.window)
    queries = memory.chunk * subject.tokens
    return subject.batch * flops.forward_flops(preset.dit, queries, seen * subject.tokens, 0)


PARTS = {
    "text": text_parts,
    "prefill": prefill_parts,
    "dit": dit_parts,
    "chunk": chunk_parts,
    "vae": vae_parts,
    "decode": decode_parts,
}
