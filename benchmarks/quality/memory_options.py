"""What the options that keep memory small change in a story of the miniature.

    python -m benchmarks.quality.memory_options

The story of examples/tiny from the same seed, once as it is and once with each option: the PSNR of
each shot's frames against those without it. A later shot has the differences of the shots before in
its context, so they grow. Prints a line for each option; takes a minute.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.fit.options import StreamOptions, words
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.text.prompts import read_script

STORY = "examples/tiny/story.json"
FULL = StreamOptions(dtype="float32")
CHANGES: tuple[dict[str, Any], ...] = (
    {"dtype": "bfloat16"},
    {"decode_frames": 1},
    {"text_memory": "host"},
    {"text_dtype": "int8"},
    {"cache_dtype": "int8"},
    {"cache_dtype": "fp8"},
    {"quantize": "int8"},
    {"quantize": "fp8"},
    {"decode_frames": 1, "text_memory": "host", "cache_dtype": "int8"},
)
PEAK = 255


def parser() -> cli.Parser:
    """The options of this command."""
    return cli.make_parser("benchmarks.quality.memory_options", __doc__)


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    parser().parse_args(argv)
    use_persistent_cache()
    full = shots_of(FULL)
    cli.print_line(f"{'option':44}" + "".join(f"{f'shot {i + 1}':>10}" for i in range(len(full))))
    for change in CHANGES:
        options = dataclasses.replace(FULL, **change)
        cells = ""
        for ours, want in zip(shots_of(options), full, strict=True):
            cells += f"{psnr(ours, want):>10.1f}"
        name = words(options, FULL).replace("--config.", "")
        cli.print_line(f"{name:44}{cells}")


def shots_of(options: StreamOptions) -> list[np.ndarray]:
    """The frames [p, y, x, 3] of each shot."""
    script = read_script(STORY)
    model = load("tiny", **dataclasses.asdict(options))
    shots: dict[int, list[np.ndarray]] = {}
    chunks = stream_generate(model, script.shots, global_caption=script.global_caption)
    for chunk in chunks:
        shots.setdefault(chunk.shot, []).append(chunk.frames)
    return [np.concatenate(frames) for frames in shots.values()]


def psnr(ours: np.ndarray, want: np.ndarray) -> float:
    """In dB; infinite for equal frames."""
    square = float(np.mean((ours.astype(float) - want) ** 2))
    return 10 * math.log10(PEAK**2 / square) if square else math.inf


if __name__ == "__main__":
    cli.run(main)
