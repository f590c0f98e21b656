"""The folder of ODE pairs: trajectories of the teacher, and the shot that each belongs to.

settings.json     what they are made with, and the sample [clip, shot] that each belongs to
trajectory/       [count, kept, f, h, w, c] float16: inputs at the student's times, then x₀
batch-00000.json  this batch of pairs is written; so an interrupted run goes on with the next one
pairs.json        all are; written last
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from shotstream_jax.checkpoint.arrays import ZarrArray, create_array, open_array
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import Float
from shotstream_jax.data.dataset import Dataset

NAME = "trajectory"
_CHECKSUMS = ("teacher_sha256", "data_sha256")


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """A complete folder.

    samples [count, 2]: the clip and the shot of each pair. identity: a checksum of its settings.
    """

    samples: np.ndarray
    store: ZarrArray
    identity: str

    def read(self, number: int) -> Float[np.ndarray, "kept f h w c"]:
        """One trajectory."""
        return self.store.read(number).astype(np.float32)


def claim_pairs(folder: pathlib.Path, settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Makes the folder and its array, or refuses one that was made with other settings."""
    # A folder that is there goes on only with the very same settings.
    path = folder / "settings.json"
    if path.exists():
        there = _read(path)
        # Folders older than the checksums go on without them.
        different = sorted(
            name
            for name in settings
            if there.get(name) != settings[name] and not (name in _CHECKSUMS and name not in there)
        )
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


def open_pairs(
    folder: str | pathlib.Path,
    dataset: Dataset,
    shape: tuple[int, ...],
    teacher_sha256: Callable[[], str],
) -> Pairs:
    """All pairs of a complete folder.

    Folders older than the field `teacher_sha256` are accepted with a warning.

    Args:
      folder: of the pairs.
      dataset: whose shots they belong to.
      shape: of one trajectory.
      teacher_sha256: gives the checksum of the run's own teacher (checkpoint/checksum).

    Raises:
      InputError: if the folder is not complete, or made from other data, by another teacher, or in
        other sizes.
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
    if settings.get("data_sha256", dataset.fingerprint) != dataset.fingerprint:
        raise InputError(
            f"the pairs of {folder} name clips by numbers that {dataset.folder} no longer has: "
            "its clips have changed since; make them again"
        )
    _check_teacher(folder, settings, teacher_sha256)
    if store.shape[1:] != shape:
        raise InputError(
            f"the pairs of {folder} have shape {store.shape[1:]}, the recipe asks for {shape}"
        )
    identity = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return Pairs(np.asarray(settings["samples"]), store, identity)


def _check_teacher(
    folder: pathlib.Path, settings: dict[str, Any], teacher_sha256: Callable[[], str]
) -> None:
    """Refuses pairs that another teacher has made."""
    made_by = settings.get("teacher_sha256")
    if made_by is None:
        logging.warning("the pairs of %s do not say which teacher's weights made them", folder)
        return
    own = teacher_sha256()
    if made_by != own:
        raise InputError(
            f"the pairs of {folder} were made by another teacher, {settings['teacher']} with the "
            f"weights {made_by[:12]}, start.checkpoint has {own[:12]}: make them again, or start "
            "from that teacher"
        )


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
