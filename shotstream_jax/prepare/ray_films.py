"""Films prepared by Ray Data: the steps of each film as stages, on all machines of a cluster.

    films → look (processors) → transitions (an actor a device) → shots, groups, clips (processors)

Rows are numbers of films: a stage's results are files in the common folder (steps), so they are
those of a run without Ray, what is there is not made again, and a film whose process dies is taken
up by another one. Ray Data asks for as many films at a time as there are processors and actors.
"""

import contextlib
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import ray.data
from absl import logging as absl_logging

from shotstream_jax.core.progress import progress_bar
from shotstream_jax.core.ray_cluster import device_share
from shotstream_jax.prepare.films import FilmFile
from shotstream_jax.prepare.recipe import PrepareRecipe
from shotstream_jax.prepare.steps import (
    PreparedFilm,
    find_film_chances,
    ignore_count,
    look_at_film,
    prepare_film,
)
from shotstream_jax.prepare.transnet import NO_NETWORK, Params, load_transnet

# Ray starts a task four times, and what an actor has in hand again with the next one.
_GONE = "its process has died again and again: see Ray's logs"

_Row = dict[str, Any]


def prepare_on_ray(
    films: Sequence[FilmFile], out: pathlib.Path, recipe: PrepareRecipe, workers: int
) -> list[PreparedFilm]:
    """Every film's results, in the films' order, with a bar that counts films.

    In a cluster that is in use (core/ray_cluster). workers: films at a time in the stages of the
    processors; 0 for as many as the cluster has.
    """
    stages = _Stages(films, out, recipe)
    with progress_bar(total=len(films), unit="film", desc=str(out)) as bar:
        cores = int(ray.cluster_resources()["CPU"])
        done = set()
        for row in _pipeline(stages, workers or cores).iter_rows():
            done.add(row["film"])
            bar.update()
    results = []
    for number, film in enumerate(films):
        if number in done:
            # All of its files are there: they are read.
            results.append(prepare_film(film, out, recipe, ignore_count))
        else:
            results.append(PreparedFilm(film, [], [], _GONE))
        if results[-1].broken:
            absl_logging.warning("%s is skipped: %s", film.name, results[-1].broken)
    return results


class _Stages:
    """What is done with a film's number, on any machine."""

    def __init__(self, films: Sequence[FilmFile], out: pathlib.Path, recipe: PrepareRecipe) -> None:
        self.films = films
        self._out = out
        self.recipe = recipe
        # Paths may be relative.
        self._here = os.getcwd()

    def look(self, row: _Row) -> _Row:
        """What is measured of every frame."""
        with contextlib.chdir(self._here):
            look_at_film(self.films[row["film"]], self._out)
        return row

    def chances(self, row: _Row, network: Params) -> _Row:
        """Where the network sees transitions."""
        with contextlib.chdir(self._here):
            find_film_chances(self.films[row["film"]], self._out, self.recipe, network)
        return row

    def clips(self, row: _Row) -> _Row:
        """All that is left."""
        with contextlib.chdir(self._here):
            prepare_film(self.films[row["film"]], self._out, self.recipe, ignore_count)
        return row


class _Network:
    """An actor: the network, loaded once."""

    def __init__(self, stages: _Stages) -> None:
        self._stages = stages
        self._network = load_transnet(stages.recipe.cuts.gradual)

    def __call__(self, row: _Row) -> _Row:
        """A film's stage."""
        return self._stages.chances(row, self._network)


def _pipeline(stages: _Stages, workers: int) -> ray.data.Dataset:
    """The stages; nothing runs before its rows are asked for."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A film that cannot be done, whatever the reason, does not end the others.
    context.max_errored_blocks = -1
    count = len(stages.films)
    data = ray.data.range(count, override_num_blocks=count).rename_columns({"id": "film"})
    processors = ray.data.TaskPoolStrategy(size=workers)
    data = data.map(stages.look, compute=processors, num_cpus=1)
    if stages.recipe.cuts.gradual != NO_NETWORK:
        devices, own = device_share()
        data = data.map(
            _Network,
            fn_constructor_args=(stages,),
            compute=ray.data.ActorPoolStrategy(size=devices),
            num_gpus=own.get("GPU"),
            resources={"TPU": own["TPU"]} if "TPU" in own else None,
        )
    return data.map(stages.clips, compute=processors, num_cpus=1)
