"""What a smaller number format costs in exactness and gains in time.

    python -m benchmarks.precision                                              # tiny
    python -m benchmarks.precision --preset wan-1.3b --layers 2 --size 240x416

A shot's first two chunks from the same noise, context and captions, with float32 matmuls and with each other format:
the relative error ‖a − b‖/‖b‖ of each chunk's latents, and the PSNR of the frames decoded from them (by the float32
autoencoder). The second chunk has the first one's error in its cache as well. Weights are random, so there are none of
the outlying activations of trained transformers. Times are medians of a shot's first chunk, the formats in turn.
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
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.model import Params, compute_params, random_params
from shotstream_jax.nn.quantize import CHOICES, quantize_blocks
from shotstream_jax.presets import PRESETS, Preset, find_preset
from shotstream_jax.vae.model import VAE

FORMATS = [
    (dtype, to) for to in CHOICES for dtype in DTYPES
]  # the first is what the others are compared with
PEAK = 2  # frames lie in [−1, 1]


class Subject(NamedTuple):
    """What all formats are given."""

    preset: Preset
    params: Params
    grid: tuple[int, int]

    def latents(self, seed: int, *leading: int) -> jax.Array:
        return jax.random.normal(
            jax.random.key(seed), (*leading, *self.grid, self.preset.dit.channels)
        )


class Result(NamedTuple):
    """Two chunks; bytes of the blocks' parameters; a call that makes the first chunk again."""

    latents: list[np.ndarray]
    frames: list[np.ndarray]
    size: int
    again: Callable[[], jax.Array]


def main(argv: Sequence[str]) -> None:
    parser = cli.make_parser("benchmarks.precision", __doc__)
    parser.add_argument("--preset", default="tiny", choices=list(PRESETS))
    parser.add_argument("--layers", type=int, help="of the transformer (default: the preset's)")
    parser.add_argument(
        "--size", metavar="HEIGHTxWIDTH", help="of the picture (default: the preset's)"
    )
    parser.add_argument(
        "--seconds", type=float, default=30, help="of timing (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    use_persistent_cache()
    subject = make_subject(args)
    layers, grid = subject.preset.dit.layers, "×".join(map(str, subject.grid))
    cli.say(
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}: {args.preset}, {layers} layers, {grid} latents"
    )
    cli.say(
        f"{'matmuls':18}{'chunk 1':>11}{'PSNR':>10}{'chunk 2':>11}{'PSNR':>10}{'blocks':>12}{'a chunk':>11}"
    )
    results = [run(subject, dtype, to) for dtype, to in FORMATS]
    timings = timed_in_turn([result.again for result in results], args.seconds)
    for (dtype, to), result, timing in zip(FORMATS, results, timings, strict=True):
        say_row(
            dtype if to == "none" else f"{dtype}, {to}",
            errors(result, results[0]),
            result.size,
            timing.median,
        )


def make_subject(args: argparse.Namespace) -> Subject:
    preset = find_preset(args.preset)
    video = preset.video
    if args.layers:
        preset = dataclasses.replace(
            preset, dit=dataclasses.replace(preset.dit, layers=args.layers)
        )
    if args.size:
        height, width = map(int, args.size.split("x"))
        video = dataclasses.replace(video, height=height, width=width)
    return Subject(preset, random_params(preset, 0, ("dit", "vae")), preset.latent_grid(video))


def run(subject: Subject, dtype: str, to: str) -> Result:
    """What comes out with these matmuls."""
    preset, chunk = subject.preset, subject.preset.memory.chunk
    student, vae = Student(preset.dit, DTYPES[dtype], memory=preset.memory), VAE(preset.vae)
    weights = jax.tree.map(jnp.asarray, compute_params(subject.params["dit"], DTYPES[dtype]))
    weights = quantize_blocks(weights, to)
    ids, caches = frame_ids(1, chunk), prefilled(subject, student, weights)
    noise = [subject.latents(i, len(preset.steps.nominal), 1, chunk) for i in range(2)]

    def step(i: int) -> jax.Array:
        nonlocal caches
        x_0, caches = shot.chunk_step(student, weights, noise[i], ids, caches, preset.steps)
        return x_0

    first = step(0)
    caches = shot.commit(student, weights, first, ids, caches)
    second = step(1)
    caches = caches.replace(fill=jnp.zeros_like(caches.fill))
    stream, head, _ = shot.decode_first(vae, subject.params["vae"], first)
    _, rest, _ = shot.decode_next(vae, subject.params["vae"], second, stream)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(weights["blocks"]))
    latents, frames = ([np.asarray(a) for a in pair] for pair in ((first, second), (head, rest)))
    return Result(latents, frames, size, lambda: step(0))


def prefilled(subject: Subject, student: Student, weights: Params) -> Caches:
    """Caches with six context frames of shot 0 and random captions."""
    cfg, memory = subject.preset.dit, subject.preset.memory
    context = subject.latents(100, 1, memory.context)
    text = jax.random.normal(jax.random.key(101), (1, memory.captions, cfg.text_len, cfg.text_dim))
    caches = student.init_caches(1, *subject.grid)
    return shot.prefill(student, weights, context, frame_ids(0, memory.context), text, caches)


def frame_ids(number: int, frames: int) -> FrameIds:
    return FrameIds(*(jnp.full((1, frames), number, jnp.int32) for _ in range(2)))


def errors(found: Result, exact: Result) -> list[tuple[float, float]]:
    """(Relative error of the latents, PSNR of the frames in dB) of each chunk."""
    relative = [
        np.linalg.norm(a - b) / np.linalg.norm(b)
        for a, b in zip(found.latents, exact.latents, strict=True)
    ]
    square = [np.mean((a - b) ** 2) for a, b in zip(found.frames, exact.frames, strict=True)]
    return [
        (float(r), 10 * math.log10(PEAK**2 / s) if s else math.inf)
        for r, s in zip(relative, square, strict=True)
    ]


def say_row(name: str, found: list[tuple[float, float]], size: int, seconds: float) -> None:
    cells = "".join(f"{100 * error:>9.2f} %{psnr:>7.1f} dB" for error, psnr in found)
    cli.say(f"{name:18}{cells}{size / 2**20:>9.1f} MB{1e3 * seconds:>8.0f} ms")


if __name__ == "__main__":
    cli.run(main)
