"""Films prepared by several processes; what one film's steps do is in `steps`."""

import concurrent.futures
import functools
import multiprocessing
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from absl import logging

from shotstream_jax.core.progress import progress_bar
from shotstream_jax.media.reader import told_frames
from shotstream_jax.prepare.films import FilmFile
from shotstream_jax.prepare.recipe import PrepareRecipe
from shotstream_jax.prepare.steps import PreparedFilm, prepare_film
from shotstream_jax.prepare.transnet import NO_NETWORK

_SECONDS_A_LOOK = 0.5  # between two looks at the workers' progress

# The workers' common count of frames; of a process of its own, set once as that starts.
_frames_done: Any = None


def prepare_films(
    films: Sequence[FilmFile], out: pathlib.Path, recipe: PrepareRecipe, workers: int
) -> list[PreparedFilm]:
    """Every film's results, in the films' order, with a bar that counts frames."""
    told = 0
    for film in films:
        told += told_frames(film.path)
    # Each is decoded once more for the network.
    if recipe.cuts.gradual != NO_NETWORK:
        told *= 2
    with progress_bar(total=told or None, unit="frame", desc=str(out)) as bar:
        if workers == 1:
            return [_name_broken(prepare_film(film, out, recipe, bar.update)) for film in films]
        done = dict(_by_workers(films, out, recipe, workers, bar))
    return [done[film.name] for film in films]


def _by_workers(
    films: Sequence[FilmFile], out: pathlib.Path, recipe: PrepareRecipe, workers: int, bar: Any
) -> Iterator[tuple[str, PreparedFilm]]:
    """Films and their results as they are done."""
    # Fresh processes: threads of the libraries that are in use here do not survive a fork.
    context = multiprocessing.get_context("spawn")
    frames = context.Value("q", 0)
    with concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(frames,)
    ) as pool:
        waiting = {pool.submit(_in_worker, film, out, recipe): film for film in films}
        while waiting:
            done, _ = concurrent.futures.wait(
                waiting, _SECONDS_A_LOOK, concurrent.futures.FIRST_COMPLETED
            )
            bar.update(frames.value - bar.n)
            for future in done:
                film = waiting.pop(future)
                yield film.name, _name_broken(future.result())


def _name_broken(film: PreparedFilm) -> PreparedFilm:
    """The same film; if it cannot be used, that is said."""
    if film.broken:
        logging.warning("%s is skipped: %s", film.film.name, film.broken)
    return film


def _start_worker(frames: Any) -> None:
    """Keeps the common count."""
    global _frames_done
    _frames_done = frames


def _in_worker(film: FilmFile, out: pathlib.Path, recipe: PrepareRecipe) -> PreparedFilm:
    return prepare_film(film, out, recipe, functools.partial(_count, _frames_done))


def _count(frames: Any, more: int) -> None:
    """Adds frames to the common count."""
    with frames.get_lock():
        frames.value += more
