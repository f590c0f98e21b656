"""What a smaller number format costs in exactness and gains in time.

    python -m benchmarks.speed.precision                                              # tiny
    python -m benchmarks.speed.precision --preset wan-1.3b --layers 2 --size 240x416

A shot's first two chunks from the same noise, context and captions, with float32 matmuls and with
each other format of matmuls and frame cache: the relative error ‖a − b‖/‖b‖ of each chunk's
latents, and the PSNR of the frames decoded from them (by the float32 autoencoder). The second chunk
has the first one's error in its cache as well. Weights are random, so there are none of the
outlying activations of trained transformers. Times are medians of a shot's first chunk, the formats
in turn. Takes three minutes at tiny size. Prints a line for each format.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax import cli
from shotstream_jax.bench.measure import timed_in_turn
from shotstream_jax.checkpoint.load import DTYPES
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.dit.student import Student
from shotstream_jax.generate import shot
from shotstream_jax.generate.calibrate import watch_inputs
from shotstream_jax.memory.cache import CACHE_DTYPES, Caches, FrameIds
from shotstream_jax.model import Params, compute_params, random_params
from shotstream_jax.nn.quantize import CHOICES, LargestInputs, quantize_blocks
from shotstream_jax.presets import PRESETS, Preset, find_preset
from shotstream_jax.vae.model import VAE


class Format(NamedTuple):
    """The matmuls' type, the 8-bit form of the blocks, and of the frame cache.

    calibrated: whether activations have one scale for all tokens, found in the first format.
    """

    dtype: str
    quantize: str = "none"
    cache: str = "same"
    calibrated: bool = False

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.dtype]
        if self.quantize != "none":
            parts.append(self.quantize)
        if self.calibrated:
            parts.append("calibrated")
        if self.cache != "same":
            parts.append(f"{self.cache} cache")
        return ", ".join(parts)


# The others are compared with the first.
FORMATS = [
    *(Format(dtype, quantize) for quantize in CHOICES for dtype in DTYPES),
    *(Format("bfloat16", quantize, calibrated=True) for quantize in CHOICES[1:]),
    *(Format(dtype, cache=cache) for cache in CACHE_DTYPES[1:] for dtype in DTYPES),
]
PEAK = 2  # frames lie in [−1, 1]


class Subject(NamedTuple):
    """What all formats are given: float32 weights, and the latent grid (h, w)."""

    preset: Preset
    params: Params
    grid: tuple[int, int]

    def latents(self, seed: int, *leading: int) -> jax.Array:
        """Numbers from N(0, 1), [*leading, h, w, c]."""
        shape = (*leading, *self.grid, self.preset.dit.channels)
        return jax.random.normal(jax.random.key(seed), shape)


class Result(NamedTuple):
    """What one format makes.

    latents, frames: of two chunks. size: bytes of the blocks' parameters. again: a call that makes
    the first chunk again.
    """

    latents: list[np.ndarray]
    frames: list[np.ndarray]
    size: int
    again: Callable[[], jax.Array]


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.speed.precision", __doc__)
    p.add_argument(
        "--preset",
        default="tiny",
        choices=list(PRESETS),
        help="the model's size (default: %(default)s)",
    )
    p.add_argument(
        "--layers",
        type=int,
        metavar="N",
        help="of the transformer (default: the preset's)",
    )
    p.add_argument(
        "--size",
        metavar="HEIGHTxWIDTH",
        help="of the picture (default: the preset's)",
    )
    p.add_argument(
        "--seconds",
        type=float,
        default=30,
        metavar="S",
        help="of timing, all formats together (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    use_persistent_cache()
    subject = make_subject(args)
    grid = "×".join(map(str, subject.grid))
    cli.print_line(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}: "
        f"{args.preset}, {subject.preset.dit.layers} layers, {grid} latents"
    )
    cli.print_line(
        f"{'matmuls':28}{'chunk 1':>11}{'PSNR':>10}{'chunk 2':>11}{'PSNR':>10}"
        f"{'blocks':>12}{'a chunk':>11}"
    )
    # All formats' models stay in memory, so that their calls can be timed in turn.
    found = calibration(subject)
    results = [run_format(subject, chosen, rounded(subject, chosen, found)) for chosen in FORMATS]
    timings = timed_in_turn([result.again for result in results], args.seconds)
    for chosen, result, timing in zip(FORMATS, results, timings, strict=True):
        print_format(chosen.name, errors(result, results[0]), result.size, timing.median)


def make_subject(args: argparse.Namespace) -> Subject:
    """The preset with the options' layers and picture, and random weights."""
    preset = find_preset(args.preset)
    video = preset.video
    if args.layers:
        dit = dataclasses.replace(preset.dit, layers=args.layers)
        preset = dataclasses.replace(preset, dit=dit)
    if args.size:
        height, width = map(int, args.size.split("x"))
        video = dataclasses.replace(video, height=height, width=width)
    return Subject(preset, random_params(preset, 0, ("dit", "vae")), preset.latent_grid(video))


def calibration(subject: Subject) -> LargestInputs:
    """The largest inputs of the Linears in the chunks that are compared, in float32."""
    watched, found = watch_inputs(rounded(subject, FORMATS[0]))
    run_format(subject, FORMATS[0], watched)
    return found()


def rounded(subject: Subject, chosen: Format, found: LargestInputs | None = None) -> Params:
    """The transformer's weights in a format. found: of a calibration."""
    params = compute_params(subject.params["dit"], DTYPES[chosen.dtype])
    largest = found if chosen.calibrated else None
    return quantize_blocks(jax.tree.map(jnp.asarray, params), chosen.quantize, largest)


def run_format(subject: Subject, chosen: Format, weights: Params) -> Result:
    """What comes out with this format."""
    dtype = DTYPES[chosen.dtype]
    preset = subject.preset
    chunk = preset.memory.chunk
    student = Student(preset.dit, dtype, memory=preset.memory, cache_dtype=chosen.cache)
    vae = VAE(preset.vae)
    ids = frame_ids(1, chunk)
    caches = prefilled(subject, student, weights)
    steps = len(preset.steps.nominal)
    noise = [subject.latents(i, steps, 1, chunk) for i in range(2)]

    def make_chunk(i: int) -> jax.Array:
        """All denoising steps of chunk i, behind what is in the caches."""
        nonlocal caches
        x_0, caches = shot.chunk_step(student, weights, noise[i], ids, caches, preset.steps)
        return x_0

    # The second chunk sees the first one, errors included.
    first = make_chunk(0)
    caches = shot.commit(student, weights, first, ids, caches)
    second = make_chunk(1)
    # Back to the shot's beginning, for the calls that are timed.
    caches = dataclasses.replace(caches, fill=jnp.zeros_like(caches.fill))
    stream, first_frames, _ = shot.decode_first_chunk(vae, subject.params["vae"], first)
    _, second_frames, _ = shot.decode_next_chunk(vae, subject.params["vae"], second, stream)
    return Result(
        latents=[np.asarray(first), np.asarray(second)],
        frames=[np.asarray(first_frames), np.asarray(second_frames)],
        size=sum(leaf.nbytes for leaf in jax.tree.leaves(weights["blocks"])),
        again=lambda: make_chunk(0),
    )


def prefilled(subject: Subject, student: Student, weights: Params) -> Caches:
    """Caches with six context frames of shot 0 and random captions."""
    cfg = subject.preset.dit
    memory = subject.preset.memory
    context = subject.latents(100, 1, memory.context)
    shape = (1, memory.captions, cfg.text_len, cfg.text_dim)
    text = jax.random.normal(jax.random.key(101), shape)
    caches = student.init_caches(1, *subject.grid)
    return shot.prefill(student, weights, context, frame_ids(0, memory.context), text, caches)


def frame_ids(number: int, frames: int) -> FrameIds:
    """Ids of frames that all are of one shot."""
    phase = jnp.full((1, frames), number, jnp.int32)
    caption = jnp.full((1, frames), number, jnp.int32)
    return FrameIds(phase, caption)


def errors(found: Result, exact: Result) -> list[tuple[float, float]]:
    """(Relative error of the latents, PSNR of the frames in dB) of each chunk."""
    chunks = []
    for i in range(2):
        difference = np.linalg.norm(found.latents[i] - exact.latents[i])
        relative = float(difference / np.linalg.norm(exact.latents[i]))
        square = np.mean((found.frames[i] - exact.frames[i]) ** 2)
        psnr = 10 * math.log10(PEAK**2 / square) if square else math.inf
        chunks.append((relative, psnr))
    return chunks


def print_format(name: str, found: list[tuple[float, float]], size: int, seconds: float) -> None:
    """A format's line. found: as `errors` returns."""
    cells = ""
    for error, psnr in found:
        cells += f"{100 * error:>9.2f} %{psnr:>7.1f} dB"
    cli.print_line(f"{name:28}{cells}{size / 2**20:>9.1f} MB{1e3 * seconds:>8.0f} ms")


if __name__ == "__main__":
    cli.run(main)
