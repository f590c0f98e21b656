"""Draw stories of the synthetic world: as clips with captions and truth, or as a contact sheet.

The stories follow from --seed, --split and the options below, bit for bit. A folder that was
interrupted is completed by the same command. docs/world.md describes the world, and what its
captions say and leave out.

examples:
  # a contact sheet to look at
  shotstream world --sheet world.png --stories 4 --enlarge 2
  # clips for precompute
  shotstream world --out data/world --stories 2000 --size 64x96
  # clips in the size, and of the subset, for which the model `tiny` is made
  shotstream world --out data/small --stories 2000 --subset simple --size 32x48 \\
      --fps 8 --lengths 11
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.lock import locked
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.media.pictures import write_png
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.world import files
from shotstream_jax.world.class_maps import class_maps
from shotstream_jax.world.clothing_mask import visible_clothing
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.sheet import contact_sheet
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS

DEFAULT = WorldConfig()


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("shotstream_jax.world", __doc__)
    _add_output_options(p)
    _add_story_options(p)
    _add_picture_options(p)
    return p


def _add_output_options(p: cli.Parser) -> None:
    """What is made, at least one of --out and --sheet."""
    p.add_argument(
        "--out",
        metavar="DIR",
        help="write clips with captions and truth here: a new folder, or one of the same options",
    )
    p.add_argument(
        "--sheet",
        metavar="FILE.png",
        help="write one picture: shots as rows, time from left to right",
    )
    p.add_argument(
        "--columns",
        type=int,
        default=8,
        metavar="N",
        help="pictures per row of the sheet (default: %(default)s)",
    )
    p.add_argument(
        "--enlarge",
        type=int,
        default=1,
        metavar="N",
        help="how often the sheet repeats each pixel (default: %(default)s)",
    )


def _add_story_options(p: cli.Parser) -> None:
    """Which stories, and what happens in them."""
    # Which stories there are.
    p.add_argument(
        "--stories",
        type=int,
        default=4,
        metavar="N",
        help="number of stories (default: %(default)s)",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another seed gives other stories (default: %(default)s)",
    )
    p.add_argument(
        "--split",
        choices=SPLITS,
        default=SPLITS[0],
        help="the two splits share no story (default: %(default)s)",
    )
    # What can happen in them.
    p.add_argument(
        "--subset",
        choices=list(SUBSETS),
        default=DEFAULT.subset,
        help="all of the world, or the part that the model `tiny` knows (default: %(default)s)",
    )
    # How long they are.
    p.add_argument(
        "--shots",
        default=",".join(map(str, DEFAULT.shots)),
        metavar="N,…",
        help="shots per story, one of these (default: %(default)s)",
    )
    p.add_argument(
        "--lengths",
        default=",".join(map(str, DEFAULT.lengths)),
        metavar="N,…",
        help="frames per shot, one of these (default: %(default)s)",
    )
    p.add_argument(
        "--pairs",
        type=float,
        metavar="P",
        help="share of the shots with both characters, in stories of two (default: the subset's)",
    )


def _add_picture_options(p: cli.Parser) -> None:
    """How the stories are drawn."""
    p.add_argument(
        "--size",
        default="64x96",
        metavar="HEIGHTxWIDTH",
        help="of the picture in pixels (default: %(default)s)",
    )
    p.add_argument(
        "--fps",
        type=int,
        default=DEFAULT.fps,
        metavar="N",
        help="frames per second (default: %(default)s)",
    )


def main(argv: Sequence[str]) -> None:
    """Draws what the options ask for. Raises InputError for options that are not possible."""
    args = parser().parse_args(argv)
    if not args.out and not args.sheet:
        raise InputError("name what to make: --out DIR, --sheet FILE.png or both")
    if min(args.columns, args.enlarge) < 1:
        raise InputError(
            f"--columns {args.columns} and --enlarge {args.enlarge} must be at least 1"
        )

    # The stories that the options describe; nothing is drawn yet.
    height, width = _parse_integers("size", args.size, separator="x", count=2)
    config = WorldConfig(
        subset=args.subset,
        fps=args.fps,
        shots=_parse_integers("shots", args.shots),
        lengths=_parse_integers("lengths", args.lengths),
        pairs=args.pairs,
    )
    source = WorldSource(config, height, width, args.stories, args.seed, args.split)

    # The picture first: it is the quick one.
    if args.sheet:
        path = check_writable(args.sheet, ".png")
        # All films at once in memory: a sheet is for a few stories.
        films = [source[index] for index in progress_bar(range(len(source)), unit="story")]
        write_png(path, contact_sheet(films, args.columns, args.enlarge))
    if args.out:
        write_world(pathlib.Path(args.out), source)


def write_world(folder: pathlib.Path, source: WorldSource) -> None:
    """Writes all stories of a source (world/files); those that are complete are kept."""
    files.claim_world_folder(folder, source)
    with locked(folder / ".lock", str(folder), "wait for it, or choose another --out"):
        _write_stories(folder, source)


def _write_stories(folder: pathlib.Path, source: WorldSource) -> None:
    """The stories that are not there yet, and the table."""
    fps = source.config.fps
    for index in progress_bar(range(len(source)), unit="story", desc=str(folder)):
        path = files.film_path(folder, index)
        labels_path = files.labels_path(folder, index)
        # Folders of earlier versions have films without labels.
        if path.exists() and labels_path.exists():
            continue
        film = source[index]
        files.write_texts(folder, index, film)
        clothing = visible_clothing(film)
        _write_video(files.mask_path(folder, index), files.weight_mask(film, clothing), fps)
        _write_video(labels_path, class_maps(film, clothing), fps)
        # Last, as the story is complete when its film exists.
        _write_video(path, film.frames, fps)
    # It marks the folder as complete.
    files.write_table(folder, source)


def _write_video(path: pathlib.Path, frames: np.ndarray, fps: int) -> None:
    """Writes frames [p, y, x, 3] without loss."""
    with VideoWriter(path, fps, lossless=True) as video:
        video.write(frames)


def _parse_integers(
    option: str,
    text: str,
    separator: str = ",",
    count: int | None = None,
) -> tuple[int, ...]:
    """The whole numbers of an option's text; exactly `count`, if that is given.

    Raises InputError.
    """
    try:
        numbers = tuple(map(int, text.split(separator)))
    except ValueError:
        numbers = ()
    if not numbers or (count is not None and len(numbers) != count):
        example = parser().get_default(option)
        raise InputError(f"--{option} {text}: write whole numbers, e.g. {example}")
    return numbers


if __name__ == "__main__":
    cli.run(main)
