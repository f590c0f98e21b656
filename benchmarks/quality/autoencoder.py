"""How exactly an autoencoder brings shots of the drawn world back, on stories that it has not seen.

    python -m benchmarks.quality.autoencoder out/tiny/autoencoder/model --sheet out/vae.png

Encodes and decodes a shot of each story, as a whole, and frame by frame as context frames are
encoded. 100 stories take a minute. Prints PSNR in dB, the mean over the shots and the worst: over
the whole picture, over the characters' boxes, and over hats and scarves (the pixels in a box that
are near to their colour). --sheet: originals, and below each what came back.
"""

import pathlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import EllipsisType

import jax
import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.files import check_writable
from shotstream_jax.media.pictures import write_png
from shotstream_jax.model import Params
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE
from shotstream_jax.world.clothing import ACCENTS
from shotstream_jax.world.draw import darken
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

NEAR = 50  # of 255, the distance from a colour
COLUMNS = 6  # moments of a shot on the sheet
ENLARGE = 4
SHOWN = 10  # shots on the sheet

# uint8 [p, y, x, 3] → the same, encoded and decoded.
Coder = Callable[[np.ndarray], jax.Array]


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.quality.autoencoder", __doc__)
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
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    sheet = check_writable(args.sheet, ".png") if args.sheet else None
    use_persistent_cache()
    checkpoint = open_checkpoint(args.checkpoint)
    preset = checkpoint.preset
    video = preset.video
    frames = preset.vae.pixel_frames(video.shot_frames)
    world = WorldConfig(args.subset, video.fps, lengths=(frames,))
    source = WorldSource(world, video.height, video.width, args.stories, split=SPLITS[1])
    coders = make_coders(VAE(preset.vae), checkpoint.load_params("vae"))

    # PSNRs of each coder in each region, and videos for the sheet: original, result, original, …
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    shown: list[np.ndarray] = []
    for index in range(args.stories):
        pixels, regions = shot_with_regions(source, index)
        for name, coder in coders.items():
            decoded = np.asarray(coder(pixels))
            for region, mask in regions.items():
                if mask.any():
                    found[name, region].append(psnr(pixels, decoded, mask))
            if name == "shots" and index < SHOWN:
                shown += [pixels, decoded]
    for (name, region), values in found.items():
        mean = f"{np.mean(values):6.2f} dB"
        cli.print_line(
            f"{name:14}{region:20}{mean}, worst {np.min(values):6.2f}, {len(values)} shots"
        )
    if sheet:
        write_png(pathlib.Path(sheet), contact_sheet(shown))
        cli.print_line(f"{sheet}: originals, and what came back below")


def make_coders(vae: VAE, params: Params) -> dict[str, Coder]:
    """The two ways to encode and decode a shot: as a whole, and frame by frame."""

    @jax.jit
    def whole(pixels: jax.Array) -> jax.Array:
        """As a shot is encoded for training."""
        latents = codec.encode(vae, params, codec.from_uint8(pixels)[None])
        return codec.to_uint8(codec.decode(vae, params, latents))[0]

    @jax.jit
    def alone(pixels: jax.Array) -> jax.Array:
        """As context frames are encoded."""
        # A batch of videos of one frame each.
        _, latents = codec.encode_first(vae, params, codec.from_uint8(pixels)[:, None])
        _, frames = codec.decode_first(vae, params, latents)
        return codec.to_uint8(frames)[:, 0]

    return {"shots": whole, "frames alone": alone}


def shot_with_regions(source: WorldSource, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A shot of a story, and the regions of its pictures by name, boolean [p, y, x]."""
    story = source.story(index)
    number = index % len(story.shots)
    pixels, boxes = render_shot(story, number, source.height, source.width)
    picture = np.full(pixels.shape[:3], True)
    characters = np.full(pixels.shape[:3], False)
    accents = np.full(pixels.shape[:3], False)
    rows = np.arange(source.height)[:, None]
    columns = np.arange(source.width)
    for slot, role in enumerate(story.shots[number].roles):
        # A character's box in every frame, [p, 1, 1] each.
        left, top, right, bottom = (boxes[:, slot, i, None, None] for i in range(4))
        box = (left <= columns) & (columns < right) & (top <= rows) & (rows < bottom)
        colour = ACCENTS[story.looks[role.name].accent]
        coloured = near(pixels, colour) | near(pixels, darken(colour))
        characters |= box
        accents |= box & coloured
    return pixels, {"picture": picture, "characters": characters, "hats and scarves": accents}


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Which pixels [p, y, x, 3] are near to a colour, boolean [p, y, x]."""
    difference = pixels.astype(np.float32) - np.asarray(colour, np.float32)
    distance = np.linalg.norm(difference, axis=-1)
    return distance < NEAR


def psnr(pixels: np.ndarray, decoded: np.ndarray, mask: np.ndarray | EllipsisType = ...) -> float:
    """In dB, over the whole of both or where the mask is true."""
    error = (pixels[mask].astype(np.float64) - decoded[mask]) / 255
    return float(-10 * np.log10(np.mean(error**2) + 1e-10))


def contact_sheet(videos: Sequence[np.ndarray]) -> np.ndarray:
    """Videos [p, y, x, 3] as rows of a picture, in pairs, in some moments each."""
    rows = []
    for i, video in enumerate(videos):
        moments = np.linspace(0, len(video) - 1, COLUMNS).round().astype(int)
        large = video[moments].repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)
        # A gap behind every moment, and one below every row that is wider between pairs.
        gapped = np.pad(large, ((0, 0), (0, 0), (0, 4), (0, 0)))
        row = np.concatenate(list(gapped), axis=1)
        gap = 8 if i % 2 else 2
        rows.append(np.pad(row, ((0, gap), (0, 0), (0, 0))))
    return np.concatenate(rows)


if __name__ == "__main__":
    cli.run(main)
