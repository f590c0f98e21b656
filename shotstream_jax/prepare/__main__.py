"""Make clips for training of films: cuts, groups of shots, filters, captions, and their table.

  shotstream prepare films/ --out data/prepared --config prepare:wan-1.3b
  shotstream prepare 'films/**/*.mp4' more.csv --out data/prepared --workers 8

FILMS are files, folders (all films in them and below), patterns, tables (a CSV with the column
video_path, or a .txt with a path a line). What is made, in DIR:

  report.html     to look at: how many shots, which of them make clips, what was dropped and why
  clips/          the clips: 2 to 5 consecutive shots of one scene, at the model's size and rate
  captions.csv    clips that still need captions: fill it in, and run the same command again
  clips.csv       the table of those that have captions, for

  shotstream precompute --csv data/prepared/clips.csv --out data/clips --config precompute:wan-1.3b

A film's own captions are read from FILM.captions.json beside it; those of other clips are asked of
a vision-language model, if --captions names an endpoint with OpenAI's chat completions:

  … --captions http://localhost:8000/v1 --captions-model Qwen/Qwen3-VL-8B-Instruct

The key, where one is needed, is in the environment's OPENAI_API_KEY. The same command goes on where
it was interrupted, takes in films that are new, and does again what a changed recipe changes. A
film that cannot be used is named, and stops nothing. docs/films.md has the way to a trained model.

On several machines, and with the clips encoded too (what follows -- goes to precompute):

  RAY_ADDRESS=auto shotstream prepare /shared/films --out /shared/prepared --ray -- \\
      --out /shared/clips --config precompute:wan-1.3b --config.checkpoint=/shared/wan
"""

import argparse
import contextlib
import os
import pathlib
from collections.abc import Sequence

from absl import logging

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable_folder
from shotstream_jax.core.lock import locked
from shotstream_jax.core.ray_cluster import any_cluster, prepare_for_ray
from shotstream_jax.core.values import number_between
from shotstream_jax.precompute import __main__ as precompute
from shotstream_jax.prepare import by_hand, report, steps, table
from shotstream_jax.prepare.endpoint import Endpoint, ask_captions
from shotstream_jax.prepare.films import FilmFile, find_films
from shotstream_jax.prepare.pictures import check_opencv
from shotstream_jax.prepare.pool import prepare_films
from shotstream_jax.prepare.recipe import PrepareRecipe
from shotstream_jax.prepare.sidecar import Sidecar, read_sidecar, script_of, sidecar_path
from shotstream_jax.prepare.steps import PreparedClip, PreparedFilm
from shotstream_jax.prepare.table import TableRow, write_clip_table
from shotstream_jax.prepare.transnet import NO_NETWORK, weights_path
from shotstream_jax.text.prompts import Script

_MOST_WORKERS = 512


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("shotstream_jax.prepare", __doc__)
    p.add_recipe("prepare")
    p.add_argument("films", nargs="+", metavar="FILMS", help="files, folders, patterns or tables")
    p.add_argument(
        "--out", required=True, metavar="DIR", help="the folder to make, or to go on with"
    )
    p.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="films at a time, each in a process of its own (default: one for two cores)",
    )
    p.add_argument(
        "--ray",
        action="store_true",
        help="on Ray: the cluster of RAY_ADDRESS, else one of this machine; --workers films at a "
        "time (default: a processor each)",
    )
    p.add_argument("--captions", metavar="URL", help="endpoint of a model that writes captions")
    p.add_argument("--captions-model", metavar="NAME", help="its name there")
    p.add_argument(
        "--captions-at-once",
        type=int,
        default=4,
        metavar="N",
        help="requests at a time (default: %(default)s)",
    )
    p.add_argument(
        "--retry-broken",
        action="store_true",
        help="look again at films that could not be used (else: if they have changed)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    # Every mistake that can be seen in the options is refused before a film is opened.
    ours, theirs = _both_commands(argv)
    args, config = parser().parse(ours)
    recipe = cli.build(PrepareRecipe, config, "config")
    check_opencv()
    if recipe.cuts.gradual != NO_NETWORK:
        weights_path(recipe.cuts.gradual)
    endpoint = _endpoint(args)
    films = find_films(args.films)
    workers = number_between(args.workers, "--workers", 0, _MOST_WORKERS)
    if args.ray:
        prepare_for_ray()
    out = check_writable_folder(args.out, "the clips")
    sidecars = {}
    for film in films:
        if sidecar_path(film.path).exists():
            sidecars[film.name] = read_sidecar(sidecar_path(film.path))
    out.mkdir(parents=True, exist_ok=True)
    if theirs and args.ray:
        theirs.append("--ray")
    with contextlib.ExitStack() as stack:
        if args.ray:
            stack.enter_context(any_cluster(workers))
        _run(args, films, out, recipe, workers, endpoint, sidecars)
        if theirs and (out / table.NAME).exists():
            precompute.main(["--csv", str(out / table.NAME), *theirs])


def _run(
    args: argparse.Namespace,
    films: Sequence[FilmFile],
    out: pathlib.Path,
    recipe: PrepareRecipe,
    workers: int,
    endpoint: Endpoint | None,
    sidecars: dict[str, Sidecar],
) -> None:
    """From the films to the table and the report."""
    with locked(out / ".lock", str(out), "wait for it, or choose another --out"):
        rows = by_hand.read_rows(out / by_hand.NAME)
        if args.retry_broken:
            for film in films:
                steps.forget_broken(out, film)
        prepared = _prepared(films, out, recipe, workers, args.ray)
        scripts = find_scripts(prepared, rows, sidecars)
        if endpoint is not None:
            clips = [clip for film in prepared for clip in film.clips if clip.name not in scripts]
            scripts |= ask_captions(endpoint, out, clips)
        finish_films(out, prepared, scripts, rows)


def _both_commands(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of this command, and those after -- for precompute. Raises InputError."""
    ours = list(argv)
    if "--" not in ours:
        return ours, []
    cut = ours.index("--")
    theirs = ours[cut + 1 :]
    args, _ = precompute.parser().parse(theirs)
    if args.csv or args.latents_from:
        raise InputError("after -- neither --csv nor --latents-from: the clips are those made here")
    return ours[:cut], theirs


def _prepared(
    films: Sequence[FilmFile], out: pathlib.Path, recipe: PrepareRecipe, workers: int, on_ray: bool
) -> list[PreparedFilm]:
    """All films, by processes of this machine or by Ray. workers: 0 to choose."""
    if on_ray:
        from shotstream_jax.prepare.ray_films import prepare_on_ray

        return prepare_on_ray(films, out, recipe, workers)
    workers = min(workers or max(1, (os.cpu_count() or 1) // 2), len(films))
    return prepare_films(films, out, recipe, workers)


def _endpoint(args: argparse.Namespace) -> Endpoint | None:
    """Where captions are asked for, if anywhere. Raises InputError."""
    if args.captions is None:
        if args.captions_model:
            raise InputError("--captions-model is for --captions URL")
        return None
    at_once = number_between(args.captions_at_once, "--captions-at-once", 1, _MOST_WORKERS)
    key = os.environ.get("OPENAI_API_KEY", "")
    return Endpoint(args.captions, args.captions_model or "", key, at_once)


def find_scripts(
    films: Sequence[PreparedFilm], rows: by_hand.Rows, sidecars: dict[str, Sidecar]
) -> dict[str, Script]:
    """The captions of each clip that has some: by hand, else by its film's sidecar."""
    scripts = {}
    for film in films:
        sidecar = sidecars.get(film.film.name)
        for clip in film.clips:
            script = by_hand.script_by_hand(rows, clip)
            if script is None and sidecar is not None:
                script = script_of(sidecar, clip.shots)
            if script is not None:
                scripts[clip.name] = script
    return scripts


def finish_films(
    out: pathlib.Path,
    films: Sequence[PreparedFilm],
    scripts: dict[str, Script],
    rows: by_hand.Rows,
) -> None:
    """Writes the tables and the report, and says what there is and what is to do."""
    table_rows = []
    missing: list[PreparedClip] = []
    for film in films:
        for clip in film.clips:
            if clip.name in scripts:
                table_rows.append(TableRow(clip, scripts[clip.name], film.film.path))
            else:
                missing.append(clip)
    write_clip_table(out, table_rows)
    sheets = {clip.name: f"clips/{clip.name}.png" for clip in missing}
    if missing or rows:
        by_hand.write_rows(out / by_hand.NAME, rows, missing, sheets)
    for film in films:
        if not film.broken:
            report.write_film_page(out, film, steps.look_of(out, film.film), scripts)
    report.write_index(out, films, scripts)
    _say(out, films, len(table_rows), len(missing))


def _say(out: pathlib.Path, films: Sequence[PreparedFilm], captioned: int, missing: int) -> None:
    """The last lines."""
    broken = sum(bool(film.broken) for film in films)
    if broken == len(films):
        raise InputError(f"none of the {len(films)} films can be used: {films[0].broken}")
    logging.info(
        "%s: %d films, %d clips (%s); %d films could not be used",
        out,
        len(films) - broken,
        captioned + missing,
        out / report.NAME,
        broken,
    )
    if captioned:
        logging.info("%d clips have captions: %s", captioned, out / table.NAME)
    if missing:
        logging.info(
            "%d clips need captions: fill in %s and run the same command again",
            missing,
            out / by_hand.NAME,
        )


if __name__ == "__main__":
    cli.run(main)
