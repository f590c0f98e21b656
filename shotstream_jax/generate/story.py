"""A story's memory between shots: a bounded, immutable value, and the folder that it can be kept in.

Live, a story holds its last C shots: captions, and the latents of the frames that later shots can ask for. It is all
that the next shot depends on, with the seed, the model and the format.

On disk it is append-only: story.json, and one small record a shot. Any shot can be gone back to (`load(folder, at=n)`)
or continued differently in a folder of its own (`fork`).
"""

import dataclasses
import io
import json
import pathlib
import shutil
import zipfile
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import AnyArray, Array
from shotstream_jax.memory.select import ContextPick, select_context
from shotstream_jax.presets import Preset, VideoFormat

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class ShotRecord:
    """What a finished shot leaves behind.

    frames: the numbers of its kept frames in the video; latents [n, h, w, c]: each encoded by itself.
    text [1, l, e]: its prompt's embedding; not saved, encoded again after loading.
    """

    number: int
    caption: str
    first_frame: int
    length: int
    frames: np.ndarray
    latents: AnyArray
    text: Array | None = None


@dataclasses.dataclass(frozen=True)
class Story:
    """preset, video: what it was made with; another model or format cannot continue it."""

    global_caption: str
    seed: int
    preset: str
    video: VideoFormat
    context: int
    shots: tuple[ShotRecord, ...] = ()

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
        return select_context([s.length for s in self.shots], self.context, first.number, first.first_frame)

    def check(self, preset: Preset) -> None:
        """Refuses a model that the story was not made with."""
        if preset.name != self.preset or preset.memory.context != self.context:
            raise InputError(
                f"the story was made with {self.preset}, context {self.context}; the model is {preset.name}"
            )

    def save(self, folder: str | pathlib.Path) -> None:
        """Appends what the folder lacks. Save after every shot to be able to go back to every shot.

        Raises InputError if the folder holds another story, or another take of one of these shots.
        """
        folder = pathlib.Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            head = folder / "story.json"
            if head.exists():
                if _read_head(folder) != self._head():
                    raise InputError(f"{folder} holds another story: save into a new folder")
            else:
                _write(head, (json.dumps(self._head(), indent=1) + "\n").encode())
            for record in self.shots:
                _append(folder, record)
        except OSError as error:
            raise InputError(f"cannot save the story to {folder}: {error.strerror}") from None

    @classmethod
    def load(cls, folder: str | pathlib.Path, at: int | None = None) -> "Story":
        """The story in a folder as it was after its first `at` shots (default: all of them)."""
        folder = pathlib.Path(folder)
        head = _read_head(folder)
        count = len(list(folder.glob("shot_*.npz")))
        last = max((int(p.stem[5:]) for p in folder.glob("shot_*.npz")), default=-1) + 1
        at = last if at is None else at
        if not 0 <= at <= last:
            raise InputError(f"cannot go to shot {at} of {folder}: it holds {count} shots")
        story = cls(**{**head, "video": VideoFormat(**head["video"])})
        records = [_read_record(folder, n) for n in range(max(0, at - story.context), at)]
        return dataclasses.replace(story, shots=tuple(records))

    @classmethod
    def fork(cls, folder: str | pathlib.Path, at: int, into: str | pathlib.Path) -> "Story":
        """Copies the first `at` shots into a new folder, to be continued there."""
        folder, into = pathlib.Path(folder), pathlib.Path(into)
        story = cls.load(folder, at)
        if into.exists() and any(into.iterdir()):
            raise InputError(f"{into} is not empty: fork into a new folder")
        try:
            into.mkdir(parents=True, exist_ok=True)
            for n in range(at):
                if _record_path(folder, n).exists():
                    shutil.copy(_record_path(folder, n), into)
            shutil.copy(folder / "story.json", into)
        except OSError as error:
            raise InputError(f"cannot fork {folder} into {into}: {error.strerror}") from None
        return story

    def _head(self) -> dict[str, Any]:
        head = dataclasses.asdict(dataclasses.replace(self, shots=()))
        del head["shots"]
        return head


def _record_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"shot_{number:06d}.npz"


def _append(folder: pathlib.Path, record: ShotRecord) -> None:
    path = _record_path(folder, record.number)
    if path.exists():
        old = _read_record(folder, record.number)
        same = (old.caption, old.first_frame, old.length) == (record.caption, record.first_frame, record.length)
        if not same or not np.array_equal(old.latents, np.asarray(record.latents)):
            raise InputError(f"{path} is another take of shot {record.number}: fork the story into a new folder")
        return
    meta = {k: getattr(record, k) for k in ("number", "caption", "first_frame", "length")}
    data = io.BytesIO()
    np.savez(data, meta=json.dumps(meta), frames=record.frames, latents=np.asarray(record.latents))
    _write(path, data.getvalue())


def _write(path: pathlib.Path, data: bytes) -> None:
    """A file has its final name only when it is whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


def _read_head(folder: pathlib.Path) -> dict[str, Any]:
    try:
        head = json.loads((folder / "story.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise InputError(f"{folder} holds no story: there is no readable story.json") from None
    return head


def _read_record(folder: pathlib.Path, number: int) -> ShotRecord:
    path = _record_path(folder, number)
    try:
        with np.load(path, allow_pickle=False) as data:
            return ShotRecord(**json.loads(str(data["meta"])), frames=data["frames"], latents=data["latents"])
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the story was not saved after that shot") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is unreadable or truncated ({error})") from None
