"""Score any multi-shot videos by what needs no model: cuts, similarity within and between shots, motion.

  python -m shotstream_jax.eval.videos out/films --out out/films.json

The folder has NAME.mp4 beside NAME.json, the story file that it was made from; the video's frames are dealt to the
story's shots in equal parts, as generate makes them. Pictures are compared at 72×128 pixels.
"""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable, write_whole
from shotstream_jax.eval.cuts import check_installed
from shotstream_jax.eval.metrics import Figures
from shotstream_jax.eval.pictures import within_and_between
from shotstream_jax.eval.report import as_json, cut_figure, summarise, table
from shotstream_jax.media.reader import count_frames, read_frames
from shotstream_jax.text.prompts import read_script

HEIGHT, WIDTH = 72, 128


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval.videos", __doc__)
    p.add_argument("folder", help="videos and their story files")
    p.add_argument(
        "--out", default="out/videos.json", metavar="FILE.json", help="(default: %(default)s)"
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    check_installed()
    out, shots = check_writable(args.out, ".json"), find_videos(pathlib.Path(args.folder))
    figures = [
        judge_video(path, count)
        for path, count in tqdm(shots.items(), unit="video", desc=args.folder)
    ]
    summary = summarise(_as_long(figures), {})
    stories = {path.name: found for path, found in zip(shots, figures, strict=True)}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        out,
        (json.dumps(as_json({"figures": summary, "videos": stories}), indent=1) + "\n").encode(),
    )
    for line in table(summary):
        cli.say(line)
    cli.say(f"{out}: {len(shots)} videos")


def find_videos(folder: pathlib.Path) -> dict[pathlib.Path, int]:
    """The videos of a folder and how many shots each has. Raises InputError if there are none, or one has no story."""
    found = {
        path: len(read_script(path.with_suffix(".json")).shots)
        for path in sorted(folder.glob("*.mp4"))
    }
    if not found:
        raise InputError(f"{folder} has no videos: name a folder with NAME.mp4 beside NAME.json")
    if short := [path for path, shots in found.items() if count_frames(path) < shots]:
        raise InputError(
            f"{short[0]} has fewer frames than its story has shots: is it another story's?"
        )
    return found


def judge_video(path: pathlib.Path, count: int) -> Figures:
    """Figures of each shot, and SCA."""
    shots = np.array_split(read_frames(path, np.arange(count_frames(path)), HEIGHT, WIDTH), count)
    return within_and_between(shots) | {"sca": cut_figure(shots)}


def _as_long(figures: Sequence[Figures]) -> list[Figures]:
    """All with as many shots as the longest; NaN in those that are not there."""
    longest = {name: max(len(story[name]) for story in figures) for name in figures[0]}
    pad = lambda values, length: np.pad(values, (0, length - len(values)), constant_values=np.nan)  # noqa: E731
    return [
        {name: pad(values, longest[name]) for name, values in story.items()} for story in figures
    ]


if __name__ == "__main__":
    cli.run(main)
