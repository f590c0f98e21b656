"""Makes the films of a suite's scripts that are not there yet, with any checkpoint.

Every prompt becomes a shot of its own, which begins with a cut, also where a script wants to go on
without one: the model knows no other way, and SCA counts it. The film of a script is, to the bit,
that of `shotstream generate` with the same captions, seed and recipe.
"""

import itertools
import pathlib
from collections.abc import Iterator, Sequence

from absl import logging

from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.checkpoint.trained_for import doubts
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.sharding import part_mesh
from shotstream_jax.generate.check import check_stream_mesh
from shotstream_jax.generate.recipe import StreamRecipe, load_styled, options_for_this_gpu
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.stream import Chunk, new_story, stream_generate
from shotstream_jax.media.formats import enlargement
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.score.films import SuiteFilm
from shotstream_jax.score.suites import report_path


def films_to_make(films: Sequence[SuiteFilm]) -> list[SuiteFilm]:
    """Those of which a file is missing."""
    missing = []
    for film in films:
        if not all(path.is_file() for path in film.parts):
            missing.append(film)
    return missing


def make_films(
    films: Sequence[SuiteFilm], recipe: StreamRecipe, checkpoint: Checkpoint, seed: int
) -> None:
    """Makes films, each whole. Raises InputError if the model cannot make the recipe's format."""
    mesh = part_mesh(recipe.mesh.lengths())
    check_stream_mesh(checkpoint.preset, mesh, recipe.video)
    on_one = mesh.size == 1
    options = recipe.options()
    if on_one:
        options = options_for_this_gpu(checkpoint.preset, recipe.video, options, "auto")
    for line in doubts(checkpoint, recipe.video):
        logging.warning(line)
    model = load_styled(checkpoint, None if on_one else mesh, options, ())
    for film in progress_bar(films, unit="film", desc="make"):
        _make_film(model, film, recipe.video, seed)


def _make_film(model: Model, film: SuiteFilm, video: VideoFormat, seed: int) -> None:
    """Makes one film: into one file with a report beside it, or into a file for each shot."""
    assert film.script is not None, f"{film.name} has no script"
    story = new_story(model, film.script.global_caption, seed, video)
    chunks = stream_generate(model, film.script.shots, story=story)
    if len(film.parts) > 1:
        by_shot = itertools.groupby(chunks, key=lambda chunk: chunk.shot)
        for path, (_, of_shot) in zip(film.parts, by_shot, strict=True):
            _write(path, of_shot, video)
        return
    (path,) = film.parts
    report = Report(model.preset.name, seed, model.described)
    report.film = _write(path, _noted(chunks, report), video)
    report.write(report_path(path))


def _noted(chunks: Iterator[Chunk], report: Report) -> Iterator[Chunk]:
    """The chunks, which the report takes down."""
    for chunk in chunks:
        report.add(chunk)
        yield chunk


def _write(path: pathlib.Path, chunks: Iterator[Chunk], video: VideoFormat) -> dict[str, object]:
    """Writes a file of film; gives its facts for a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = enlargement("auto", video.height, video.width)
    with VideoWriter(path, video.fps, scale=scale) as writer:
        for chunk in chunks:
            writer.write(chunk.frames)
    return writer.facts()
