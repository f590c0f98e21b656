"""How well an autoencoder brings shots of the drawn world back, on stories that it has not seen.

    python -m benchmarks.autoencoder out/tiny/autoencoder/model --sheet out/vae.png

PSNR in dB, the mean over the shots (one of each story): over the whole picture, over the characters' boxes, and over
hats and scarves (the pixels in a box that are near to their colour). Of whole shots, and of frames that are encoded and
decoded by themselves, as context frames are encoded. --sheet: originals, and below each what came back.
"""

import functools
import pathlib
from collections import defaultdict
from collections.abc import Sequence
from types import EllipsisType

import jax
import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.load import load_weights, preset_of
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.files import check_writable
from shotstream_jax.media.pictures import write_png
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.clothing import ACCENTS
from shotstream_jax.world.draw import darken
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

NEAR = 50  # of 255, the distance from a colour
COLUMNS, ENLARGE, SHOWN = 6, 4, 10


def parser() -> cli.Parser:
    p = cli.make_parser("benchmarks.autoencoder", __doc__)
    p.add_argument("checkpoint", help="a checkpoint folder")
    p.add_argument(
        "--stories",
        type=int,
        default=100,
        metavar="N",
        help="of the test split (default: %(default)s)",
    )
    p.add_argument(
        "--subset",
        choices=list(SUBSETS),
        default="simple",
        help="of the world (default: %(default)s)",
    )
    p.add_argument("--sheet", metavar="FILE.png", help="a picture of some shots")
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    sheet = check_writable(args.sheet, ".png") if args.sheet else None
    use_persistent_cache()
    preset = preset_of(args.checkpoint)
    video, frames = preset.video, preset.vae.pixel_frames(preset.video.shot_frames)
    world = WorldConfig(args.subset, video.fps, lengths=(frames,))
    source = WorldSource(world, video.height, video.width, args.stories, split=SPLITS[1])
    shots, alone = coders(VAE(preset.vae), load_weights(args.checkpoint, "vae"))
    found, shown = defaultdict(list), []
    for index in range(args.stories):
        pixels, masks = shot_with_masks(source, index)
        for name, coder in (("shots", shots), ("frames alone", alone)):
            made = np.asarray(coder(pixels))
            for where, mask in masks.items():
                if mask.any():
                    found[name, where].append(psnr(pixels, made, mask))
            if len(shown) < 2 * SHOWN:
                shown += [pixels, made] if name == "shots" else []
    for (name, where), values in found.items():
        cli.say(
            f"{name:14}{where:20}{np.mean(values):6.2f} dB, worst {np.min(values):6.2f}, {len(values)} shots"
        )
    if sheet:
        write_png(pathlib.Path(sheet), contact_sheet(shown))
        cli.say(f"{sheet}: originals, and what came back below")


def coders(vae: VAE, params: dict) -> tuple:
    """uint8 [p, y, x, 3] → the same, there and back: as a shot, and frame by frame."""

    @jax.jit
    def shot(pixels: jax.Array) -> jax.Array:
        return codec.to_uint8(
            codec.decode(vae, params, codec.encode(vae, params, codec.from_uint8(pixels)[None]))
        )[0]

    @jax.jit
    def alone(pixels: jax.Array) -> jax.Array:
        _, z = codec.encode_first(vae, params, codec.from_uint8(pixels)[:, None])
        return codec.to_uint8(codec.decode_first(vae, params, z)[1])[:, 0]

    return shot, alone


def shot_with_masks(source: WorldSource, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A shot of a story, and where in it (boolean [p, y, x]) everything, the characters, and what they wear is."""
    story = source.story(index)
    number = index % len(story.shots)
    pixels, boxes = render_shot(story, number, source.height, source.width)
    whole, people, worn = (np.full(pixels.shape[:3], value) for value in (True, False, False))
    rows, columns = np.arange(source.height)[:, None], np.arange(source.width)
    for slot, part in enumerate(story.shots[number].roles):
        left, top, right, bottom = (boxes[:, slot, i, None, None] for i in range(4))
        box = (left <= columns) & (columns < right) & (top <= rows) & (rows < bottom)
        accent = ACCENTS[story.looks[part.name].accent]
        people |= box
        worn |= box & functools.reduce(
            np.logical_or, (near(pixels, c) for c in (accent, darken(accent)))
        )
    return pixels, {"picture": whole, "characters": people, "hats and scarves": worn}


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.linalg.norm(pixels.astype(np.float32) - np.float32(colour), axis=-1) < NEAR


def psnr(pixels: np.ndarray, made: np.ndarray, mask: np.ndarray | EllipsisType = ...) -> float:
    """In dB, over the whole of both or where the mask is true."""
    error = (pixels[mask].astype(np.float64) - made[mask]) / 255
    return -10 * np.log10(np.mean(error**2) + 1e-10)


def contact_sheet(videos: Sequence[np.ndarray]) -> np.ndarray:
    """Videos [p, y, x, 3] as rows, in pairs."""
    rows = []
    for i, video in enumerate(videos):
        moments = np.linspace(0, len(video) - 1, COLUMNS).round().astype(int)
        large = np.pad(
            video[moments].repeat(ENLARGE, 1).repeat(ENLARGE, 2), ((0, 0), (0, 0), (0, 4), (0, 0))
        )
        rows.append(
            np.pad(np.concatenate(list(large), axis=1), ((0, 8 if i % 2 else 2), (0, 0), (0, 0)))
        )
    return np.concatenate(rows)


if __name__ == "__main__":
    cli.run(main)
