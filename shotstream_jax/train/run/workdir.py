"""A run's folder: config, snapshots, metrics, sample videos and the result.

config.json       the recipe and the model's sizes
checkpoints/      snapshots (train/run/snapshots), named by the number of steps behind them
metrics.jsonl  tensorboard/  samples/step_000100.mp4
model/            when the run is done: a checkpoint folder for generate or the next stage
.lock             while a run writes here (core/lock)
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.core.lock import locked
from shotstream_jax.core.typing import Array, UInt8
from shotstream_jax.media.formats import enlargement
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.presets import Preset
from shotstream_jax.train.losses.truth import TruthConfig
from shotstream_jax.train.recipe import TrainRecipe

# What a run may change when it goes on; all else decides what its state and its data are.
_FREE_SECTIONS = (
    "optim",
    "critic",
    "mesh",
    "dropout",
    "distillation",
    "start",
    "teacher",
    "loss",
    "clip",
    "measured",
    "sampler",
)
_FREE_FIELDS = ("data.workers", "data.processes", "data.path", "truth.layer")
_FIXED_IN_RUN = ("batch", "seed")

Change = tuple[str, Any, Any]  # field, old value, new value


def describe(recipe: TrainRecipe, preset: Preset, data: str) -> dict[str, Any]:
    """The recipe and the sizes as JSON has them. data: the checksum of what is trained on."""
    values = {
        "recipe": dataclasses.asdict(recipe),
        "sizes": dataclasses.asdict(preset),
        "samples": data,
    }
    return json.loads(json.dumps(values))


@contextlib.contextmanager
def held(folder: pathlib.Path, option: str) -> Iterator[None]:
    """Keeps other runs out of a folder inside; among several processes the first one does.

    A folder that is still empty at the end is removed. option: what names the folder. Raises
    InputError if another run has it.
    """
    if jax.process_index() > 0:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror}; choose another {option}"
        ) from None
    try:
        with locked(folder / ".lock", str(folder), f"wait for it, or use another {option}"):
            yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def claim(workdir: pathlib.Path, description: dict[str, Any], is_main: bool) -> None:
    """Writes config.json, or checks that the run in the folder can go on with this recipe."""
    path = workdir / "config.json"
    if path.exists():
        changed = _read_changes(path, description)
        # What decides the state and the data is refused, the rest is allowed and said aloud.
        refused = [change for change in changed if not _is_free(change[0])]
        if refused:
            what = ", ".join(f"{name} was {old!r}, is {new!r}" for name, old, new in refused[:4])
            raise InputError(
                f"{workdir} holds a run of another recipe: {what}; "
                "use another --workdir, or change it back"
            )
        _check_data(path, description)
        for name, old, new in changed:
            logging.warning("%s was %r, is %r from here on", name, old, new)
    if is_main:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(path, description)
        except OSError as error:
            raise InputError(
                f"cannot write {workdir}: {error.strerror}; choose another --workdir"
            ) from None


def _check_data(path: pathlib.Path, description: dict[str, Any]) -> None:
    """Refuses other data than the run has seen, whatever its path; older folders do not know."""
    there = json.loads(path.read_text()).get("samples", description["samples"])
    if there != description["samples"]:
        where = description["recipe"]["data"].get("path", "the drawn world")
        raise InputError(
            f"{path.parent} holds a run on other data than {where} has now (checksum "
            f"{there[:12]}, is {description['samples'][:12]}): its clips, their encoders or the "
            "pairs have changed; use another --workdir, or change them back"
        )


def _read_changes(path: pathlib.Path, description: dict[str, Any]) -> list[Change]:
    """What differs from the run in the folder."""
    try:
        there = json.loads(path.read_text())
        recipe = there["recipe"]
        # A teacher's folder of before there was a section `truth`.
        if "truth" in description["recipe"]:
            recipe = {"truth": dataclasses.asdict(TruthConfig())} | recipe
        changed = list(_changes(recipe, description["recipe"]))
        changed += _changes(there["sizes"], description["sizes"], "model")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}): use another --workdir") from None
    return changed


def _changes(old: Any, new: Any, name: str = "") -> Iterator[Change]:
    """All leaves that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            inner = f"{name}.{key}" if name else key
            yield from _changes(old.get(key), new.get(key), inner)
    elif old != new:
        yield name, old, new


def _is_free(field: str) -> bool:
    section, _, rest = field.partition(".")
    if section == "run":
        return rest not in _FIXED_IN_RUN
    return section in _FREE_SECTIONS or field in _FREE_FIELDS


def write_samples(
    workdir: pathlib.Path, step: int, videos: UInt8[np.ndarray, "b p y x 3"], fps: int
) -> pathlib.Path:
    """Writes samples/step_….mp4: the stories of a batch side by side."""
    path = workdir / "samples" / f"step_{step:06d}.mp4"
    tiled = np.concatenate(list(videos), axis=2)  # [p, y, b·x, 3]
    scale = enlargement("auto", *tiled.shape[1:3])
    # H.264 wants even sizes.
    height = tiled.shape[1] // 2 * 2
    width = tiled.shape[2] // 2 * 2
    with VideoWriter(path, fps, scale=scale) as writer:
        writer.write(tiled[:, :height, :width])
    return path


def gather(tree: Any) -> Any:
    """Sharded arrays → numpy arrays on every process, one parameter at a time."""

    def whole(a: Array) -> np.ndarray:
        """One array from all processes."""
        if a.is_fully_addressable:
            return np.asarray(a)
        return np.asarray(multihost_utils.process_allgather(a, tiled=True))

    return jax.tree.map(whole, tree)
