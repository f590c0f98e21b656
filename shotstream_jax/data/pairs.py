"""The folder of ODE pairs: trajectories of the teacher, and the shot that each belongs to.

settings.json     what they are made with, and the sample [clip, shot] that each belongs to
trajectory/       [count, kept, f, h, w, c] float16: inputs at the student's times, then x₀
batch-00000.json  this batch of pairs is written; so an interrupted run goes on with the next one
pairs.json        all are; written last
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from shotstream_jax.checkpoint.arrays import ZarrArray, create_array, open_array
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import Float
from shotstream_jax.data.dataset import Dataset

NAME = "trajectory"


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """A complete folder. samples [count, 2]: the clip and the shot of each pair."""

    samples: np.ndarray
    store: ZarrArray

    def read(self, number: int) -> Float[np.ndarray, "kept f h w c"]:
        """One trajectory."""
        return self.store.read(number).astype(np.float32)


def claim_pairs(folder: pathlib.Path, settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Makes the folder and its array, or refuses one that was made with other settings."""
    # A folder that is there goes on only with the very same settings.
    path = folder / "settings.json"
    if path.exists():
        there = _read(path)
        different = sorted(name for name in settings if there.get(name) != settings[name])
        if different:
            name = different[0]
            raise InputError(
                f"{folder} was made with other settings: {', '.join(different)} "
                f"({name} was {there.get(name)!r:.60}, is {settings[name]!r:.60}); "
                "choose another pairs.path, or remove this one"
            )
        return
    # The settings come last: with them the folder counts as made.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_array(folder, NAME, shape, np.dtype(np.float16), stacked=True)
        write_whole(path, (json.dumps(settings) + "\n").encode())
    except OSError as error:
        raise InputError(f"cannot write pairs to {folder}: {error.strerror}") from None


def open_pairs(folder: str | pathlib.Path, dataset: Dataset, shape: tuple[int, ...]) -> Pairs:
    """All pairs of a complete folder.

    shape: of one trajectory. Raises InputError if the folder is not complete, or made from other
    data or sizes.
    """
    folder = pathlib.Path(folder)
    if not (folder / "pairs.json").exists():
        raise InputError(f"{folder} has no complete set of pairs: run shotstream ode-pairs first")
    # They must belong to these clips, and have the recipe's sizes.
    settings = _read(folder / "settings.json")
    store = open_array(folder, NAME)
    if settings.get("clips_sha256") != dataset.settings.clips_sha256:
        raise InputError(
            f"the pairs of {folder} were made from other clips than {dataset.folder}: "
            "make them again"
        )
    if store.shape[1:] != shape:
        raise InputError(
            f"the pairs of {folder} have shape {store.shape[1:]}, the recipe asks for {shape}"
        )
    return Pairs(np.asarray(settings["samples"]), store)


def batch_done(folder: pathlib.Path, batch: int) -> bool:
    """Whether a batch of pairs is written."""
    return _batch_file(folder, batch).exists()


def mark_batch(folder: pathlib.Path, batch: int) -> None:
    """Says that a batch of pairs is written."""
    write_whole(_batch_file(folder, batch), b"{}\n")


def finish_pairs(folder: pathlib.Path, count: int) -> None:
    """Says that all pairs are written."""
    write_whole(folder / "pairs.json", (json.dumps({"count": count}) + "\n").encode())


def _batch_file(folder: pathlib.Path, batch: int) -> pathlib.Path:
    return folder / f"batch-{batch:05d}.json"


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): make the pairs again") from None
