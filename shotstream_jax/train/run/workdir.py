"""A run's folder: its config, checked when the run goes on; its snapshots; sample videos; and what it is for.

config.json       the recipe and the model's sizes
checkpoints/      snapshots (train/run/snapshots), named by the number of steps that they have behind them
metrics.jsonl  tensorboard/  samples/step_000100.mp4
model/            when the run is done: a checkpoint folder for generate, convert export, or the next stage
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import Array
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.presets import Preset

# What a run may change when it goes on; all else decides what its state and its data are.
_FREE = (
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
)
_FREE += ("sampler_steps", "guidance", "context_guidance")
_FIXED_IN_RUN = ("batch", "seed")


def describe(recipe: Any, preset: Preset) -> dict[str, Any]:
    """The recipe and the sizes as JSON has them."""
    return json.loads(
        json.dumps({"recipe": dataclasses.asdict(recipe), "sizes": dataclasses.asdict(preset)})
    )


def claim(workdir: pathlib.Path, description: dict[str, Any], main: bool) -> None:
    """Writes config.json, or checks that the run in the folder can go on with this recipe."""
    path = workdir / "config.json"
    if path.exists():
        try:
            there = json.loads(path.read_text())
            changed = list(_changes(there["recipe"], description["recipe"])) + list(
                _changes(there["sizes"], description["sizes"], "model")
            )
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{path} is damaged ({error}): use another --workdir") from None
        refused = [change for change in changed if not _free(change[0])]
        if refused:
            what = ", ".join(f"{name} was {old!r}, is {new!r}" for name, old, new in refused[:4])
            raise InputError(
                f"{workdir} holds a run of another recipe: {what}; use another --workdir, or change it back"
            )
        for name, old, new in changed:
            logging.warning("%s was %r, is %r from here on", name, old, new)
    if main:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_whole(path, (json.dumps(description, indent=1) + "\n").encode())
        except OSError as error:
            raise InputError(
                f"cannot write {workdir}: {error.strerror}; choose another --workdir"
            ) from None


def _changes(old: Any, new: Any, name: str = "") -> Any:
    """(field, old value, new value) of all leaves that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            yield from _changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield name, old, new


def _free(field: str) -> bool:
    top, _, rest = field.partition(".")
    if top == "run":
        return rest not in _FIXED_IN_RUN
    return top in _FREE or field in ("data.workers", "data.path")


def write_samples(workdir: pathlib.Path, step: int, videos: np.ndarray, fps: int) -> pathlib.Path:
    """samples/step_….mp4: the stories of a batch side by side. videos [b, p, y, x, 3] uint8."""
    path = workdir / "samples" / f"step_{step:06d}.mp4"
    tiled = np.concatenate(list(videos), axis=2)
    with VideoWriter(path, fps) as writer:
        writer.write(tiled[:, : tiled.shape[1] // 2 * 2, : tiled.shape[2] // 2 * 2])
    return path


def gather(tree: Any) -> Any:
    """Sharded arrays → numpy arrays on every process, one parameter at a time."""

    def whole(a: Array) -> np.ndarray:
        if a.is_fully_addressable:
            return np.asarray(a)
        return np.asarray(jax.experimental.multihost_utils.process_allgather(a, tiled=True))

    return jax.tree.map(whole, tree)
