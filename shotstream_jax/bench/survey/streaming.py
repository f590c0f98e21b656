"""Sections of the stream: all chunks, the decoders, prompts to frames, and their kernels."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from shotstream_jax.bench.measure import peak_device_memory
from shotstream_jax.bench.models import decoder_params, smaller_decoders
from shotstream_jax.bench.parts import PARTS
from shotstream_jax.bench.stream import stream_timing
from shotstream_jax.bench.subject import BenchPart, BenchSubject
from shotstream_jax.bench.survey.survey import Survey
from shotstream_jax.bench.survey.trace import kernel_rows, traced_kernels
from shotstream_jax.core.compilation import counted_compilations
from shotstream_jax.core.files import write_json
from shotstream_jax.generate import shot
from shotstream_jax.nn.quantize import check_quantize
from shotstream_jax.presets import OWN_DECODER
from shotstream_jax.vae.model import VAE


def decoder_subjects(survey: Survey, quantize: str = "none") -> Iterator[tuple[str, BenchSubject]]:
    """Every decoder's name, and a story on a model whose frames it makes."""
    # The autoencoder first, then the smaller ones beside it on the same model.
    subject = survey.subject(quantize=quantize)
    yield OWN_DECODER, subject
    model = subject.model
    for kind, cfg in smaller_decoders(survey.preset.vae).items():
        params = model.params | {"decoder": decoder_params(cfg, survey.dtype, None)}
        shown = dataclasses.replace(model, params=params, decoder=cfg)
        yield kind, subject._replace(model=shown)


def chunks_section(survey: Survey) -> None:
    """All denoising steps and the commit of every chunk of a shot, prefill, and text."""
    subject = survey.subject(parts=("dit",))
    for name in ("chunk", "prefill"):
        for part in PARTS[name](subject):
            survey.measure_part(part)
    del subject, part
    for part in PARTS["text"](survey.subject(parts=("dit", "text"))):
        survey.measure_part(part)


def decode_section(survey: Survey) -> None:
    """A shot's first chunk and a later one through each decoder; a frame through the encoder."""
    # Time first; then what bfloat16 costs in exactness.
    subject = survey.subject(parts=("dit", "vae"))
    for name in ("vae", "decode"):
        for part in PARTS[name](subject):
            survey.measure_part(part)
    if survey.dtype != jnp.float32:
        with survey.attempt("decode", f"{OWN_DECODER}: difference from float32"):
            _decoding_error(survey, subject)


def _decoding_error(survey: Survey, subject: BenchSubject) -> None:
    """A first chunk of a quarter of the picture's edges, beside float32 with full precision."""
    model = subject.model
    rows, columns = subject.grid
    z = subject.latents(survey.preset.memory.chunk)[:, :, : rows // 4, : columns // 4]
    _, frames, _ = shot.decode_first_chunk(model.vae, model.params["vae"], z)
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), model.params["vae"])
    with jax.default_matmul_precision("highest"):
        _, exact, _ = shot.decode_first_chunk(VAE(survey.preset.vae, jnp.float32), wide, z)
    # Random weights leave the range of pixels: the signal is the frames' own spread.
    noise = jnp.mean((frames - exact) ** 2)
    ratio = jnp.var(exact) / noise
    survey.find(
        "decode",
        "signal to noise, beside float32",
        decoder=OWN_DECODER,
        snr_db=float(10 * jnp.log10(ratio)),
    )


def stream_section(survey: Survey) -> None:
    """The stream with each decoder."""
    for name, subject in decoder_subjects(survey):
        _stream(survey, subject, decoder=name, quantize="none")


def int8_section(survey: Survey) -> None:
    """The stream with int8 matmuls."""
    _eight_bits(survey, "int8")


def fp8_section(survey: Survey) -> None:
    """The stream with fp8 matmuls."""
    _eight_bits(survey, "fp8")


def _eight_bits(survey: Survey, quantize: str) -> None:
    """The stream with 8-bit matmuls."""
    with survey.attempt("stream", quantize):
        check_quantize(quantize, jax.devices()[0])
        for name, subject in decoder_subjects(survey, quantize):
            _stream(survey, subject, decoder=name, quantize=quantize)


def _stream(survey: Survey, subject: BenchSubject, decoder: str, quantize: str) -> None:
    """Frames/s of one story, and its first frames after a prompt."""
    variant = f"decoder {decoder}, {survey.dtype_name}"
    if quantize != "none":
        variant = f"{variant} and {quantize}"
    if not survey.has_time("stream", variant):
        return
    with survey.attempt("stream", variant), counted_compilations() as programs:
        found = stream_timing(subject, min(5 * survey.settings.seconds, survey.left / 4))
        survey.find(
            "stream",
            variant,
            frames_per_s=found.rate,
            measured_s=found.seconds,
            first_frames_cold_s=found.first_cold,
            first_frames_warm_s=found.first_warm,
            # Cold is a new process; what its programs cost depends on the cache of programs.
            programs_compiled=programs["compiled"],
            programs_from_cache=programs["fetched"],
            peak_device_bytes=peak_device_memory(),
        )


def kernels_section(survey: Survey) -> None:
    """Where the time goes in a chunk's steps, its commit and its decoding, kernel by kernel."""
    subject = survey.subject(parts=("dit", "vae"))
    # Of parts that share a program the last is kept: the last chunk sees the most keys.
    last: dict[str, BenchPart] = {}
    for part in PARTS["chunk"](subject):
        last[part.program.name] = part
    for part in PARTS["vae"](subject):
        last[part.program.name] = part
    for name in ("chunk_step", "decode_next", "commit"):
        _kernels(survey, name, last.pop(name))


def _kernels(survey: Survey, name: str, part: BenchPart) -> None:
    """The kernels of one call, and the compiled program."""
    variant = f"{name}, {part.variant}"
    if not survey.has_time("kernels", variant):
        return
    # The program first: a call takes some of its arguments away.
    survey.keep_program(name, part.program)
    with survey.attempt("kernels", variant):
        call = part.call()
        jax.block_until_ready(call())
        rows = kernel_rows(traced_kernels(call))
        file = f"kernels_{name}.json"
        write_json(survey.settings.folder / file, rows)
        survey.find(
            "kernels",
            variant,
            ms=sum(row["total_us"] for row in rows) / 1e3,
            launches=sum(row["calls"] for row in rows),
            top=rows[:5],
            file=file,
        )
