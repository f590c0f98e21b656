"""A story's memory between shots: a bounded, immutable value, and the folder that it can be kept in.

Live, a story holds its last C shots: captions, and the latents of the frames that later shots can ask for. It is all
that the next shot depends on, with the seed, the model and the format.

On disk it is append-only: story.json, and one small record a shot. Any shot can be gone back to (`load(folder, at=n)`)
or continued differently in a folder of its own (`fork`).
"""

import dataclasses
import io
import itertools
import json
import pathlib
import re
import shutil
import zipfile
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import Array
from shotstream_jax.memory.select import ContextPick, candidates, select_context
from shotstream_jax.presets import Preset, VideoFormat


@dataclasses.dataclass(frozen=True, eq=False)
class ShotRecord:
    """What a finished shot leaves behind.

    frames: the numbers of its kept frames in the video; latents: [1, h, w, c] of each, encoded by itself; while the
    story is live they are on the device, and perhaps still being made.
    text [1, l, e]: its prompt's embedding; not saved, encoded again after loading.
    """

    number: int
    caption: str
    first_frame: int
    length: int
    frames: np.ndarray
    latents: tuple[Array | np.ndarray, ...]
    text: Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Story:
    """preset, video: what it was made with; another model or format cannot continue it."""

    global_caption: str
    seed: int
    preset: str
    video: VideoFormat
    context: int
    shots: tuple[ShotRecord, ...] = ()

    def __post_init__(self) -> None:
        kinds = {
            "global_caption": str,
            "seed": int,
            "preset": str,
            "video": VideoFormat,
            "context": int,
            "shots": tuple,
        }
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise InputError(
                    f"a story's {name} must be {kind.__name__}, not {getattr(self, name)!r:.40}"
                )
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed {self.seed} does not fit in 64 bits")

    @property
    def next_shot(self) -> int:
        return self.shots[-1].number + 1 if self.shots else 0

    @property
    def next_frame(self) -> int:
        return self.shots[-1].first_frame + self.shots[-1].length if self.shots else 0

    def add(self, record: ShotRecord) -> "Story":
        """The story one shot on; what no later shot can ask for is let go."""
        return dataclasses.replace(self, shots=(*self.shots, record)[-self.context :])

    def pick(self) -> ContextPick:
        """The context frames of the next shot (there must be an earlier one)."""
        first = self.shots[0]
        return select_context(
            [s.length for s in self.shots], self.context, first.number, first.first_frame
        )

    def check(self, preset: Preset) -> None:
        """Refuses a model that the story was not made with."""
        if preset.name != self.preset or preset.memory.context != self.context:
            raise InputError(
                f"the story was made with {self.preset}, context {self.context}; the model is {preset.name}"
            )
        latent = (*preset.latent_grid(self.video), preset.dit.channels)
        for record in self.shots:
            if wrong := [a.shape[1:] for a in record.latents if a.shape[1:] != latent]:
                raise InputError(
                    f"shot {record.number} of the story has latents {wrong[0]} for {latent}"
                )

    def check_folder(self, folder: str | pathlib.Path) -> None:
        """Refuses a folder that this story could not be saved in, now and after its next shot. Changes nothing."""
        folder = pathlib.Path(folder)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: name a folder to keep the story in")
        if (folder / "story.json").exists() and _read_head(folder) != self._head():
            raise InputError(f"{folder} holds another story: name a new folder")
        if any(number >= self.next_shot for number in _saved(folder)):
            raise InputError(
                f"{folder} already goes on after shot {self.next_shot}: fork into a new folder"
            )

    def save(self, folder: str | pathlib.Path) -> None:
        """Appends what the folder lacks. Save after every shot to be able to go back to every shot.

        Raises InputError if the folder holds another story, or another take of one of these shots.
        """
        folder = pathlib.Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "story.json").exists():
                write_whole(
                    folder / "story.json",
                    (
                        json.dumps(self._head(), indent=1, default=dataclasses.asdict) + "\n"
                    ).encode(),
                )
            elif _read_head(folder) != self._head():
                raise InputError(f"{folder} holds another story: save into a new folder")
            for record in self.shots:
                _append(folder, record, self.context)
        except OSError as error:
            raise InputError(f"cannot save the story to {folder}: {error.strerror}") from None

    @classmethod
    def load(cls, folder: str | pathlib.Path, at: int | None = None) -> "Story":
        """The story in a folder as it was after its first `at` shots (default: all of them)."""
        folder = pathlib.Path(folder)
        story = cls(**_read_head(folder))
        last = max(_saved(folder), default=-1) + 1
        at = last if at is None else at
        if not 0 <= at <= last:
            raise InputError(
                f"cannot go to shot {at} of {folder}: it has {last} shots, so 0 to {last} can be asked for"
            )
        records = tuple(
            _read_record(folder, n, story.context) for n in range(max(0, at - story.context), at)
        )
        for before, after in itertools.pairwise(records):
            if before.first_frame + before.length != after.first_frame:
                raise InputError(
                    f"{_record_path(folder, after.number)} does not follow the shot before it"
                )
        return dataclasses.replace(story, shots=records)

    @classmethod
    def fork(cls, folder: str | pathlib.Path, at: int, into: str | pathlib.Path) -> "Story":
        """Copies the first `at` shots into a new folder, to be continued there."""
        folder, into = pathlib.Path(folder), pathlib.Path(into)
        story = cls.load(folder, at)
        try:
            into.mkdir(parents=True, exist_ok=True)
            if any(into.iterdir()):
                raise InputError(f"{into} is not empty: fork into a new folder")
            for n in range(at):
                if _record_path(folder, n).exists():
                    shutil.copy(_record_path(folder, n), into)
            shutil.copy(folder / "story.json", into)
        except OSError as error:
            raise InputError(f"cannot fork {folder} into {into}: {error.strerror}") from None
        return story

    def _head(self) -> dict[str, Any]:
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "shots"
        }


def _saved(folder: pathlib.Path) -> list[int]:
    """The numbers of the shots that a folder holds."""
    names = (re.fullmatch(r"shot_(\d{6,})\.npz", path.name) for path in folder.glob("shot_*.npz"))
    return [int(name[1]) for name in names if name]


def _record_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"shot_{number:06d}.npz"


def _append(folder: pathlib.Path, record: ShotRecord, context: int) -> None:
    path = _record_path(folder, record.number)
    if path.exists():
        old = _read_record(folder, record.number, context)
        same = (old.caption, old.first_frame, old.length) == (
            record.caption,
            record.first_frame,
            record.length,
        )
        if not same or not np.array_equal(_on_disk(old), _on_disk(record)):
            raise InputError(
                f"{path} is another take of shot {record.number}: fork the story into a new folder"
            )
        return
    meta = {k: getattr(record, k) for k in ("number", "caption", "first_frame", "length")}
    data = io.BytesIO()
    np.savez(data, meta=json.dumps(meta), frames=record.frames, latents=_on_disk(record))
    write_whole(path, data.getvalue())


def _on_disk(record: ShotRecord) -> np.ndarray:
    """[n, h, w, c]"""
    return np.concatenate(record.latents)


def _read_head(folder: pathlib.Path) -> dict[str, Any]:
    """The fields of story.json, strictly."""
    path = folder / "story.json"
    try:
        head = json.loads(path.read_text("utf-8"))
        head["video"] = VideoFormat(**head["video"])
        Story(**head)
    except FileNotFoundError:
        raise InputError(f"{folder} holds no story: there is no story.json") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged ({error}): take another copy, or start a new story"
        ) from None
    return head


def _read_record(folder: pathlib.Path, number: int, context: int) -> ShotRecord:
    """A shot's record, strictly: its number is the file's, and it has every frame that later shots can ask for."""
    path = _record_path(folder, number)
    try:
        with np.load(path, allow_pickle=False) as data:
            latents = tuple(data["latents"][:, None])
            record = ShotRecord(
                **json.loads(str(data["meta"])), frames=data["frames"], latents=latents
            )
        wanted = candidates(number, record.first_frame, record.length, context)
        if record.number != number or not isinstance(record.caption, str):
            raise ValueError("it is another shot's")
        if not np.array_equal(record.frames, wanted) or len(record.latents) != len(wanted):
            raise ValueError("it lacks context frames")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the story was not saved after that shot") from None
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is unreadable, truncated or damaged ({error})") from None
    return record
