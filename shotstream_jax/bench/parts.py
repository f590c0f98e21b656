"""The parts of the stream as programs with their arguments and FLOPs.

They are timed (bench/measure), or compiled ahead of time for devices that are not there
(bench/aot).
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from shotstream_jax.aot.compile import Program
from shotstream_jax.bench.count import counted_program
from shotstream_jax.bench.models import decoder_params, empty_state, smaller_decoders
from shotstream_jax.bench.subject import BenchPart, BenchSubject
from shotstream_jax.core.typing import Array
from shotstream_jax.dit.student import Student
from shotstream_jax.generate import shot
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Params
from shotstream_jax.text.encode import encode_prompt
from shotstream_jax.train import flops
from shotstream_jax.vae.codec import AnyDecoder, make_decoder


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
    """All denoising steps of a chunk, and what puts it into the cache; every chunk of a shot."""
    # The same noise and ids for all chunks; each program has its own caches.
    noise = subject.noise()
    chunk = subject.model.preset.memory.chunk
    ids = subject.ids(chunk)
    for fill in range(0, subject.video.shot_frames, chunk):
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
        params = decoder_params(cfg, dtype, subject.model.mesh(), subject.abstract)
        yield from _decoding(subject, kind, f", {kind}", make_decoder(cfg, dtype), params)


def _decoding(
    subject: BenchSubject, name: str, suffix: str, decoder: AnyDecoder, params: Params
) -> Iterator[BenchPart]:
    """A shot's first chunk and a later one. name, suffix: of the programs, and of the variants."""
    preset = subject.model.preset
    # A whole chunk, or as many of its latent frames as the model decodes at a time.
    count = subject.model.decode_frames or preset.memory.chunk
    z = subject.latents(count)
    # A shot's first latent frame is one pixel frame, every later one `time` of them.
    yield BenchPart(
        "decode",
        f"a shot's first chunk{suffix}",
        counted_program(f"{name}_first", shot.decode_first_chunk, decoder, params, z),
        frames=subject.batch * preset.vae.pixel_frames(count),
        ways=subject.model_ways,
    )
    # A later chunk goes on from the state that the chunk before it has left.
    stream = subject.make(empty_state(decoder, params, z), "b p y x c")
    yield BenchPart(
        "decode",
        f"a later chunk{suffix}",
        counted_program(f"{name}_next", shot.decode_next_chunk, decoder, params, z, stream),
        frames=subject.batch * count * preset.vae.time,
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
