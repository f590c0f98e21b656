"""The parts of the stream as programs with their arguments and FLOPs: to be timed, or compiled ahead of time."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from shotstream_jax.aot.compile import Program
from shotstream_jax.bench.count import matmul_flops
from shotstream_jax.core.sharding import activation_spec, with_shardings
from shotstream_jax.core.typing import Array
from shotstream_jax.dit.student import Student
from shotstream_jax.generate import shot
from shotstream_jax.memory import cache
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Model, Params
from shotstream_jax.presets import VideoFormat
from shotstream_jax.train import flops


class Part(NamedTuple):
    """frames: pixel frames that one call makes or reads, of all stories; 0 if it has none.

    carried: the number of the argument that a call takes away (donation), and that argument of the next call, from the
    result. passes: how often a call goes through its arguments. ways: over how many devices its FLOPs are dealt out.
    """

    name: str
    variant: str
    program: Program
    frames: int = 0
    carried: tuple[int, Callable[[Any], Any]] | None = None
    passes: int = 1
    ways: int = 1

    def call(self) -> Callable[[], Any]:
        """A call that can be repeated."""
        arguments = list(self.program.arguments)

        def call() -> Any:
            made = self.program.jitted(*arguments)
            if self.carried:
                number, following = self.carried
                arguments[number] = following(made)
            return made

        return call


class Subject(NamedTuple):
    """What is measured: a model on a mesh, a format, and a number of stories side by side.

    abstract: the model's parameters are shapes with their shardings, and so is all that is made here.
    """

    model: Model
    video: VideoFormat
    batch: int
    abstract: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        return self.model.preset.latent_grid(self.video)

    @property
    def tokens(self) -> int:
        """Of a latent frame."""
        rows, columns = self.model.preset.dit.grid(*self.grid)
        return rows * columns

    def ways(self, *axes: str) -> int:
        return math.prod(self.model.mesh().shape[axis] for axis in axes)

    def make(self, f: Callable[[], Any], dims: Any) -> Any:
        """What f makes, laid out by its arrays' dimensions (a tree of letters as in core/sharding)."""
        mesh, shapes = self.model.mesh(), jax.eval_shape(f)
        places = jax.tree.map(
            lambda d, a: NamedSharding(mesh, activation_spec(mesh, d, a.shape)), dims, shapes
        )
        return (
            with_shardings(shapes, places) if self.abstract else jax.jit(f, out_shardings=places)()
        )

    def latents(self, frames: int) -> Array:
        shape = (self.batch, frames, *self.grid, self.model.preset.dit.channels)
        return self.make(lambda: jax.random.normal(jax.random.key(frames), shape), "b f h w c")

    def noise(self) -> Array:
        """Of a chunk, all its steps."""
        preset = self.model.preset
        shape = (
            len(preset.steps.nominal),
            self.batch,
            preset.memory.chunk,
            *self.grid,
            preset.dit.channels,
        )
        return self.make(lambda: jax.random.normal(jax.random.key(0), shape), "_ b f h w c")

    def ids(self, frames: int) -> FrameIds:
        ones = lambda: jnp.ones((self.batch, frames), jnp.int32)  # noqa: E731
        return self.make(lambda: FrameIds(ones(), ones()), FrameIds("b f", "b f"))

    def caches(self, fill: int) -> Caches:
        empty = lambda: self.model.student.init_caches(self.batch, *self.grid)  # noqa: E731
        return self.make(
            lambda: empty().replace(fill=jnp.full(self.batch, fill, jnp.int32)), cache.DIMS
        )

    def text(self) -> Array:
        cfg, slots = self.model.preset.dit, self.model.preset.memory.captions
        shape = (self.batch, slots, cfg.text_len, cfg.text_dim)
        return self.make(lambda: jax.random.normal(jax.random.key(1), shape), "b _ l d")


def text_parts(subject: Subject) -> Iterator[Part]:
    model, batch = subject.model, subject.batch
    length = model.preset.dit.text_len
    ids = subject.make(lambda: jnp.ones((batch, length), jnp.int32), "b l")
    valid = subject.make(lambda: jnp.full(batch, length), "b")
    program = _program(
        "encode_prompt", shot.encode_prompt, model.text, model.params["text"], ids, valid
    )
    yield Part("text", f"{length} tokens", program, ways=subject.ways("data", "tensor"))


def prefill_parts(subject: Subject) -> Iterator[Part]:
    model, (cfg, memory) = subject.model, (subject.model.preset.dit, subject.model.preset.memory)
    context, ids, text = (
        subject.latents(memory.context),
        subject.ids(memory.context),
        subject.text(),
    )
    tokens = memory.context * subject.tokens
    count = subject.batch * flops.forward(cfg, tokens, tokens, memory.captions)
    arguments = model.student, model.params["dit"], context, ids, text, subject.caches(0)
    program = Program("prefill", shot.prefill, arguments, count)
    variant = f"{memory.context} frames, {memory.captions} captions"
    yield Part("prefill", variant, program, carried=(5, lambda caches: caches), ways=_ways(subject))


def dit_parts(subject: Subject) -> Iterator[Part]:
    """One denoising pass over a shot's first chunk, and over its last: how much the history costs."""
    model, memory = subject.model, subject.model.preset.memory
    x, ids = subject.latents(memory.chunk), subject.ids(memory.chunk)
    t = subject.make(lambda: jnp.full(subject.batch, 500.0), "b")
    for fill in _fills(subject):
        arguments = model.student, model.params["dit"], x, t, ids, subject.caches(fill)
        program = Program("denoise", _pass, arguments, _pass_flops(subject, fill))
        yield Part(
            "pass",
            _nth(subject, fill),
            program,
            carried=(5, lambda caches: caches),
            ways=_ways(subject),
        )


def chunk_parts(subject: Subject) -> Iterator[Part]:
    """All denoising steps of a chunk, and what puts it into the cache."""
    model, memory, vae = subject.model, subject.model.preset.memory, subject.model.preset.vae
    steps, noise, ids = model.preset.steps, subject.noise(), subject.ids(memory.chunk)
    params, frames = model.params["dit"], subject.batch * memory.chunk * vae.time
    for fill in _fills(subject):
        passes = len(steps.nominal)
        arguments = model.student, params, noise, ids, subject.caches(fill), steps
        program = Program(
            "chunk_step", shot.chunk_step, arguments, passes * _pass_flops(subject, fill)
        )
        carried = 4, lambda made: made[1]
        yield Part("chunk", _nth(subject, fill), program, frames, carried, passes, _ways(subject))
        # The last layer makes keys and values only.
        share = (model.preset.dit.layers - 1) / model.preset.dit.layers
        arguments = model.student, params, subject.latents(memory.chunk), ids, subject.caches(fill)
        program = Program("commit", shot.commit, arguments, share * _pass_flops(subject, fill))
        carried = 4, functools.partial(_uncommitted, memory.chunk)
        yield Part("commit", _nth(subject, fill), program, frames, carried, ways=_ways(subject))


def vae_parts(subject: Subject) -> Iterator[Part]:
    model, chunk = subject.model, subject.model.preset.memory.chunk
    z, params, time = subject.latents(chunk), model.params["vae"], model.preset.vae.time
    ways, frames = _ways(subject), subject.batch * (1 + (chunk - 1) * time)
    first = _program("decode_first", shot.decode_first, model.vae, params, z)
    yield Part("decode", "a shot's first chunk", first, frames, ways=ways)
    shapes = jax.eval_shape(functools.partial(shot.decode_first, model.vae), params, z)[0]
    places = jax.tree.map(lambda _: "b p y x c", shapes)
    stream = subject.make(
        lambda: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes), places
    )
    later = _program("decode_next", shot.decode_next, model.vae, params, z, stream)
    yield Part(
        "decode",
        "a later chunk",
        later,
        subject.batch * chunk * time,
        carried=(3, lambda made: made[0]),
        ways=ways,
    )
    shape = (subject.batch, subject.video.height, subject.video.width, 3)
    frame = subject.make(lambda: jnp.zeros(shape), "b y x c")
    encode = _program("encode_frame", shot.encode_frame, model.vae, params, frame)
    yield Part("encode", "a context frame", encode, ways=ways)


@functools.partial(jax.jit, static_argnames="student", donate_argnames="caches")
def _pass(
    student: Student, params: Params, x: Array, t: Array, ids: FrameIds, caches: Caches
) -> Caches:
    v, caches = student.apply({"params": params}, x, t, ids, caches, method="denoise")
    return caches.replace(
        fill=caches.fill + 0 * jnp.sum(v).astype(jnp.int32)
    )  # the velocity must be computed


def _program(name: str, jitted: Any, module: Any, *arguments: Any) -> Program:
    """Of a step whose first argument is a module; its FLOPs are those of its matmuls and convolutions."""
    return Program(
        name,
        jitted,
        (module, *arguments),
        matmul_flops(functools.partial(jitted, module), *arguments),
    )


def _uncommitted(chunk: int, caches: Caches) -> Caches:
    """The next call writes the same chunk again."""
    return caches.replace(fill=caches.fill - chunk)


def _ways(subject: Subject) -> int:
    """Of the transformer's work, by tokens and heads, and of the autoencoder's, by rows."""
    return subject.ways("data", "sequence", "tensor")


def _nth(subject: Subject, fill: int) -> str:
    return f"chunk {fill // subject.model.preset.memory.chunk + 1}"


def _fills(subject: Subject) -> tuple[int, ...]:
    """Frames that are committed before a shot's first chunk and before its last."""
    return tuple(dict.fromkeys((0, subject.video.shot_frames - subject.model.preset.memory.chunk)))


def _pass_flops(subject: Subject, fill: int) -> float:
    memory = subject.model.preset.memory
    seen = memory.context + min(fill + memory.chunk, memory.window)
    tokens = subject.tokens
    return subject.batch * flops.forward(
        subject.model.preset.dit, memory.chunk * tokens, seen * tokens, 0
    )


PARTS = {
    "text": text_parts,
    "prefill": prefill_parts,
    "dit": dit_parts,
    "chunk": chunk_parts,
    "vae": vae_parts,
}
