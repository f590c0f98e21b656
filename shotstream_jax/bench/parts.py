"""The parts of the stream, each as a call to be timed, with its FLOPs."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from shotstream_jax.bench.count import matmul_flops
from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array
from shotstream_jax.dit.student import Student
from shotstream_jax.generate import shot
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Model, Params
from shotstream_jax.presets import VideoFormat
from shotstream_jax.train import flops


class Part(NamedTuple):
    """flops: of one call. frames: pixel frames that one call makes or reads, of all stories; 0 if it has none."""

    name: str
    variant: str
    call: Callable[[], Any]
    flops: float
    frames: int = 0


class Subject(NamedTuple):
    """What is measured: a model, a format, and a number of stories side by side."""

    model: Model
    video: VideoFormat
    batch: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.model.preset.latent_grid(self.video)

    @property
    def tokens(self) -> int:
        """Of a latent frame."""
        rows, columns = self.model.preset.dit.grid(*self.grid)
        return rows * columns

    def latents(self, frames: int) -> Array:
        shape = (self.batch, frames, *self.grid, self.model.preset.dit.channels)
        return constrain(jax.random.normal(jax.random.key(frames), shape), "b f h w c")

    def ids(self, frames: int) -> FrameIds:
        return FrameIds(*(jnp.ones((self.batch, frames), jnp.int32) for _ in range(2)))

    def caches(self, fill: int) -> Caches:
        caches = self.model.student.init_caches(self.batch, *self.grid)
        return caches.replace(fill=jnp.full(self.batch, fill, jnp.int32))

    def text(self) -> Array:
        cfg, slots = self.model.preset.dit, self.model.preset.memory.captions
        return jax.random.normal(jax.random.key(1), (self.batch, slots, cfg.text_len, cfg.text_dim))


def text_parts(subject: Subject) -> Iterator[Part]:
    model = subject.model
    length = model.preset.dit.text_len
    arguments = model.params["text"], jnp.ones((subject.batch, length), jnp.int32), jnp.full(subject.batch, length)
    encode = functools.partial(shot.encode_prompt, model.text)
    yield Part("text", f"{length} tokens", lambda: encode(*arguments), matmul_flops(encode, *arguments))


def prefill_parts(subject: Subject) -> Iterator[Part]:
    model, (cfg, memory) = subject.model, (subject.model.preset.dit, subject.model.preset.memory)
    context, ids, text = subject.latents(memory.context), subject.ids(memory.context), subject.text()
    step = lambda caches: shot.prefill(model.student, model.params["dit"], context, ids, text, caches)  # noqa: E731
    tokens = memory.context * subject.tokens
    count = subject.batch * flops.forward(cfg, tokens, tokens, memory.captions)
    yield Part("prefill", f"{memory.context} frames, {memory.captions} captions", _handing_on(step, subject), count)


def dit_parts(subject: Subject) -> Iterator[Part]:
    """One denoising pass over a shot's first chunk, and over its last: how much the history costs."""
    model, memory = subject.model, subject.model.preset.memory
    x, ids, t = subject.latents(memory.chunk), subject.ids(memory.chunk), jnp.full(subject.batch, 500.0)
    one = functools.partial(_pass, model.student)
    step = lambda caches: one(model.params["dit"], x, t, ids, caches)  # noqa: E731
    for fill in _fills(subject):
        call = _handing_on(step, subject, fill)
        yield Part("pass", f"chunk {fill // memory.chunk + 1}", call, _pass_flops(subject, fill))


def chunk_parts(subject: Subject) -> Iterator[Part]:
    """All denoising steps of a chunk, and what puts it into the cache."""
    model, memory, vae = subject.model, subject.model.preset.memory, subject.model.preset.vae
    steps, x, ids = model.preset.steps, subject.latents(memory.chunk), subject.ids(memory.chunk)
    params, noise = model.params["dit"], jnp.stack([x] * len(steps.nominal))
    make = lambda caches: shot.chunk_step(model.student, params, noise, ids, caches, steps)[1]  # noqa: E731
    frames = subject.batch * memory.chunk * vae.time
    for fill in _fills(subject):
        variant, count = f"chunk {fill // memory.chunk + 1}", _pass_flops(subject, fill)
        yield Part("chunk", variant, _handing_on(make, subject, fill), len(steps.nominal) * count, frames)
    write = lambda caches: shot.commit(model.student, params, x, ids, caches.replace(fill=_zero(subject)))  # noqa: E731
    # The last layer makes keys and values only.
    share = (model.preset.dit.layers - 1) / model.preset.dit.layers
    yield Part("commit", "chunk 1", _handing_on(write, subject), share * _pass_flops(subject, 0), frames)


def vae_parts(subject: Subject) -> Iterator[Part]:
    model, chunk = subject.model, subject.model.preset.memory.chunk
    z, params, time = subject.latents(chunk), model.params["vae"], model.preset.vae.time
    first = functools.partial(shot.decode_first, model.vae)
    count, frames = matmul_flops(first, params, z), subject.batch * (1 + (chunk - 1) * time)
    yield Part("decode", "a shot's first chunk", lambda: first(params, z), count, frames)
    following = functools.partial(shot.decode_next, model.vae)
    stream = first(params, z)[0]
    count = matmul_flops(following, params, z, stream)

    def decode() -> Array:
        nonlocal stream
        stream, _, pixels = following(params, z, stream)
        return pixels

    yield Part("decode", "a later chunk", decode, count, subject.batch * chunk * time)
    frame = jnp.zeros((subject.batch, subject.video.height, subject.video.width, 3))
    encode = functools.partial(shot.encode_frame, model.vae)
    yield Part("encode", "a context frame", lambda: encode(params, frame), matmul_flops(encode, params, frame))


@functools.partial(jax.jit, static_argnames="student", donate_argnames="caches")
def _pass(student: Student, params: Params, x: Array, t: Array, ids: FrameIds, caches: Caches) -> Caches:
    v, caches = student.apply({"params": params}, x, t, ids, caches, method="denoise")
    return caches.replace(fill=caches.fill + 0 * jnp.sum(v).astype(jnp.int32))  # the velocity must be computed


def _handing_on(step: Callable[[Caches], Caches], subject: Subject, fill: int = 0) -> Callable[[], Caches]:
    """A call that gives the step its own result again: the steps take the caches away (donation)."""
    caches = subject.caches(fill)

    def call() -> Caches:
        nonlocal caches
        caches = step(caches)
        return caches

    return call


def _fills(subject: Subject) -> tuple[int, ...]:
    """Frames that are committed before a shot's first chunk and before its last."""
    return tuple(dict.fromkeys((0, subject.video.shot_frames - subject.model.preset.memory.chunk)))


def _pass_flops(subject: Subject, fill: int) -> float:
    memory = subject.model.preset.memory
    seen = memory.context + min(fill + memory.chunk, memory.window)
    tokens = subject.tokens
    return subject.batch * flops.forward(subject.model.preset.dit, memory.chunk * tokens, seen * tokens, 0)


def _zero(subject: Subject) -> Array:
    return jnp.zeros(subject.batch, jnp.int32)


PARTS = {"text": text_parts, "prefill": prefill_parts, "dit": dit_parts, "chunk": chunk_parts, "vae": vae_parts}
