"""Draw stories: as clips with captions and truth for precompute, or as a sheet of pictures.

  python -m shotstream_jax.world --out world --stories 2000 --size 64x96
  python -m shotstream_jax.world --out data/small --stories 2000 --subset simple --size 32x48 --fps 8 --lengths 17
  python -m shotstream_jax.world --sheet out/world.png --stories 4 --enlarge 2

The same command goes on after an interruption. docs/world.md says what captions tell and what they do not.
"""

import pathlib
from collections.abc import Sequence

from tqdm import tqdm

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.world import files
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.sheet import contact_sheet, write_png
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

DEFAULT = WorldConfig()


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.world", __doc__)
    p.add_argument("--out", metavar="DIR", help="the folder to make, or to go on with")
    p.add_argument(
        "--sheet", metavar="FILE.png", help="a picture: shots as rows, time from left to right"
    )
    p.add_argument(
        "--stories", type=int, default=4, metavar="N", help="how many (default: %(default)s)"
    )
    p.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another one, other stories (default: %(default)s)",
    )
    p.add_argument(
        "--split",
        choices=SPLITS,
        default=SPLITS[0],
        help="they share no story (default: %(default)s)",
    )
    p.add_argument(
        "--subset", choices=list(SUBSETS), default=DEFAULT.subset, help="(default: %(default)s)"
    )
    p.add_argument(
        "--size",
        default="64x96",
        metavar="HEIGHTxWIDTH",
        help="of the picture (default: %(default)s)",
    )
    p.add_argument(
        "--fps",
        type=int,
        default=DEFAULT.fps,
        metavar="N",
        help="frames a second (default: %(default)s)",
    )
    for name, what in (("shots", "shots a story"), ("lengths", "frames a shot")):
        default = ",".join(map(str, getattr(DEFAULT, name)))
        p.add_argument(
            f"--{name}",
            default=default,
            metavar="N,…",
            help=f"{what}, one of these (default: {default})",
        )
    p.add_argument(
        "--pairs",
        type=float,
        metavar="P",
        help="share of shots of two, in stories of two (default: the subset's)",
    )
    p.add_argument(
        "--columns", type=int, default=8, metavar="N", help="of the sheet (default: %(default)s)"
    )
    p.add_argument(
        "--enlarge",
        type=int,
        default=1,
        metavar="N",
        help="the sheet's pixels (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    if not (args.out or args.sheet):
        raise InputError("name what to make: --out DIR, --sheet FILE.png or both")
    if min(args.columns, args.enlarge) < 1:
        raise InputError(
            f"--columns {args.columns} and --enlarge {args.enlarge} must be at least 1"
        )
    height, width = numbers("size", args.size, "x", 2)
    shots, lengths = numbers("shots", args.shots), numbers("lengths", args.lengths)
    config = WorldConfig(args.subset, args.fps, shots, lengths, args.pairs)
    source = WorldSource(config, height, width, args.stories, args.seed, args.split)
    if args.sheet:
        path = check_writable(args.sheet, ".png")
        write_png(
            path,
            contact_sheet(
                [source[i] for i in tqdm(range(len(source)))], args.columns, args.enlarge
            ),
        )
    if args.out:
        write_folder(pathlib.Path(args.out), source)


def write_folder(folder: pathlib.Path, source: WorldSource) -> None:
    """All stories of a source as files; those that are there are kept."""
    files.claim_folder(folder, source)
    for index in tqdm(range(len(source)), unit="story", desc=str(folder)):
        path = files.film_path(folder, index)
        if not path.exists():
            film = source[index]
            files.write_texts(folder, index, film)
            for target, frames in (
                (files.mask_path(folder, index), files.mask(film)),
                (path, film.frames),
            ):
                with VideoWriter(target, source.config.fps, lossless=True) as video:
                    video.write(frames)
    files.write_table(folder, source)


def numbers(name: str, text: str, between: str = ",", count: int | None = None) -> tuple[int, ...]:
    """An option's whole numbers."""
    try:
        found = tuple(map(int, text.split(between)))
    except ValueError:
        found = ()
    if not found or count not in (None, len(found)):
        raise InputError(f"--{name} {text}: write whole numbers, e.g. {parser().get_default(name)}")
    return found


if __name__ == "__main__":
    cli.run(main)
