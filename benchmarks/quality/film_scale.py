"""How well a film keeps a small model's colours, by how far its pictures are enlarged.

Drawn stories are written as mp4 at every scale and read back; the decibels are over all pixels, and
over those of hats and scarves. A table for docs/results.md.

    python -m benchmarks.quality.film_scale
"""

import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np

from shotstream_jax import cli
from shotstream_jax.media.reader import read_frames
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.world.clothing_mask import visible_clothing
from shotstream_jax.world.files import CLOTHING_WEIGHT, weight_mask
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource

HEIGHT, WIDTH, FPS, STORIES = 32, 48, 8, 6
SCALES = (1, 2, 4, 5, 8, 10)


def decibels(errors: np.ndarray) -> float:
    """The peak signal-to-noise ratio of errors of 8-bit values."""
    return float(10 * np.log10(255**2 / (errors**2).mean()))


def main(argv: Sequence[str]) -> None:
    """Prints the table."""
    cli.make_parser("benchmarks.quality.film_scale", __doc__).parse_args(argv)
    source = WorldSource(WorldConfig("simple", fps=FPS), HEIGHT, WIDTH, STORIES, seed=5)
    films = [source[index] for index in range(STORIES)]
    frames = np.concatenate([film.frames for film in films])  # [p, y, x, 3]
    masks = np.concatenate([weight_mask(film, visible_clothing(film)) for film in films])
    is_clothing = (masks == CLOTHING_WEIGHT).all(axis=-1)

    cli.print_line("| scale | all | clothing | KiB |")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "film.mp4"
        for scale in SCALES:
            with VideoWriter(path, FPS, scale=scale) as writer:
                writer.write(frames)
            again = read_frames(path, np.arange(len(frames)), HEIGHT, WIDTH)
            errors = again.astype(float) - frames
            every = decibels(errors)
            clothing = decibels(errors[is_clothing])
            size = path.stat().st_size // 1024
            cli.print_line(f"| {scale} | {every:.1f} | {clothing:.1f} | {size} |")


if __name__ == "__main__":
    cli.run(main)
