"""Score any multi-shot videos by what needs no model: cuts, similarity of frames, motion.

  python -m shotstream_jax.eval.videos out/films --out out/films.json

The folder has NAME.mp4 beside NAME.json, the story file that it was made from; the video's frames
are split evenly among the story's shots, as generate makes them. Pictures are compared at 72×128
pixels.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.eval.cuts import check_scenedetect
from shotstream_jax.eval.metrics import Figures
from shotstream_jax.eval.pictures import within_and_between
from shotstream_jax.eval.report import cut_accuracy, summarise, summary_table, write_results
from shotstream_jax.media.reader import count_frames, read_frames
from shotstream_jax.text.prompts import read_script

# The size at which pictures are compared, in pixels.
HEIGHT = 72
WIDTH = 128


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.eval.videos", __doc__)
    p.add_argument("folder", help="videos and their story files")
    p.add_argument(
        "--out",
        default="out/videos.json",
        metavar="FILE.json",
        help="(default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Writes the figures of every video and their summary, and prints a table."""
    args = parser().parse_args(argv)
    check_scenedetect()
    out = check_writable(args.out, ".json")
    shot_counts = find_videos(pathlib.Path(args.folder))
    # Each video by itself, and then all together.
    figures = {}
    for path, shots in progress_bar(shot_counts.items(), unit="video", desc=args.folder):
        figures[path.name] = score_video(path, shots)
    # Means over all videos; stories may differ in length.
    summary = summarise(_pad_to_longest(list(figures.values())), {})
    write_results(out, {"figures": summary, "videos": figures})
    for line in summary_table(summary):
        cli.print_line(line)
    cli.print_line(f"{out}: {len(figures)} videos")


def find_videos(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    """The videos of a folder and how many shots each has.

    Raises InputError if there are none, if one has no story file, or has fewer frames than its
    story has shots.
    """
    # A story file says how many shots its video has.
    shot_counts = {}
    for path in sorted(folder.glob("*.mp4")):
        script = read_script(path.with_suffix(".json"))
        shot_counts[path] = len(script.shots)
    if not shot_counts:
        raise InputError(f"{folder} has no videos: name a folder with NAME.mp4 beside NAME.json")
    for path, shots in shot_counts.items():
        if count_frames(path) < shots:
            raise InputError(
                f"{path} has fewer frames than its story has shots: is it another story's?"
            )
    return shot_counts


def score_video(path: pathlib.Path, shot_count: int) -> Figures:
    """The figures of each shot, [shots], and SCA, [1]."""
    every_frame = np.arange(count_frames(path))
    frames = read_frames(path, every_frame, HEIGHT, WIDTH)
    # The file does not say where a shot starts: all are taken to be of one length.
    shots = np.array_split(frames, shot_count)
    figures = within_and_between(shots)
    figures["sca"] = cut_accuracy(shots)
    return figures


def _pad_to_longest(figures: Sequence[Figures]) -> list[Figures]:
    """All with as many shots as the longest video; NaN in those that a video does not have."""
    # Figures of shots and figures of a video have lengths of their own.
    padded: list[Figures] = [{} for _ in figures]
    for name in figures[0]:
        lengths = [len(of_video[name]) for of_video in figures]
        longest = max(lengths)
        for of_video, result in zip(figures, padded, strict=True):
            values = of_video[name]
            missing = longest - len(values)
            result[name] = np.pad(values, (0, missing), constant_values=np.nan)
    return padded


if __name__ == "__main__":
    cli.run(main)
