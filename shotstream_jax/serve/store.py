"""Stories on disk: a folder each, to which only is added.

    <stories>/<story>/story.json                what all its shots share
                     /log.jsonl                 its events (story_log)
                     /shots/<shot>/record.npz   what later shots remember (generate/record)
                                  /000.mp4 …    its chunks (media/pieces)
                                  /poster.webp  its first picture
                                  /000.….npy    while it is in the making: its chunks' latents

A shot is there when its line "done" is, which is written after its files. Files without that line
are written again, with the same bits, and with the latents that there are in less time.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.generate.record import DAMAGE, ShotRecord, read_record, record_bytes
from shotstream_jax.generate.story import Story
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve.ids import is_id, new_id
from shotstream_jax.serve.story_log import StoryLog

_HEAD = "story.json"
_GONE = ".gone-"  # before the name of a folder that is being removed
_LONG_GONE = 3600.0  # seconds after which no other server works on such a folder
_PARTIAL = ".partial"


class StoryFolder:
    """One story's folder.

    head: the story without shots. is_shared: whether other servers use it too.
    """

    def __init__(self, path: pathlib.Path, head: Story, is_shared: bool = False) -> None:
        self.path = path
        self.head = head
        self.log = StoryLog(path, is_shared)

    @property
    def id(self) -> str:
        """The story's name."""
        return self.path.name

    def chunk(self, shot: str, number: int) -> pathlib.Path:
        """The path of a chunk's file."""
        return self.shot(shot) / f"{number:03d}.mp4"

    def poster(self, shot: str) -> pathlib.Path:
        """The path of a shot's first picture."""
        return self.shot(shot) / "poster.webp"

    def shot(self, shot: str) -> pathlib.Path:
        """The folder of a shot's files."""
        return self.path / "shots" / shot

    def picture(self, picture: str) -> pathlib.Path:
        """The path of a picture that was given."""
        return self.path / "pictures" / f"{picture}.png"

    def pictures(self) -> int:
        """How many pictures there are."""
        return len(list((self.path / "pictures").glob("*.png")))

    def write(self, path: pathlib.Path, data: bytes) -> None:
        """Writes one of the story's files, whole or not at all.

        Raises OSError, also if the story has been removed: what was on its way for it must not
        bring its folder back.
        """
        folder = self.path
        for name in path.parent.relative_to(self.path).parts:
            folder = folder / name
            folder.mkdir(exist_ok=True)
        # Under a name of its own first: two servers may write the same file.
        partial = self.path / f"{new_id()}{_PARTIAL}"
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def take(self) -> None:
        """Makes this server the one that writes the story, and removes what a crash has left.

        Raises OSError if the story has gone.
        """
        self.log.take()
        for partial in self.path.glob(f"*{_PARTIAL}"):
            partial.unlink(missing_ok=True)

    def write_record(self, shot: str, record: ShotRecord) -> None:
        """Keeps what later shots remember. Waits for the device. Raises OSError."""
        self.write(self._record(shot), record_bytes(record))

    def read_record(self, shot: str) -> ShotRecord:
        """What later shots remember of one.

        Raises InputError if it is not there, or damaged, and OSError if the disk does not give it.
        """
        path = self._record(shot)
        try:
            return read_record(path, self.head.context, self.head.video)
        except DAMAGE as error:
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise
            raise InputError(f"{path} is missing or damaged ({error})") from None

    def write_latents(self, shot: str, number: int, told: str, latents: np.ndarray) -> None:
        """Keeps a chunk's latents until its shot is done. Raises OSError.

        told: a name of what the chunk was made of (board.BoardShot.told_by).
        """
        file = io.BytesIO()
        np.save(file, latents, allow_pickle=False)
        self.write(self._latents(shot, number, told), file.getvalue())

    def read_latents(self, shot: str, number: int, told: str) -> np.ndarray | None:
        """A chunk's latents; None if there are none of what it is made of now."""
        try:
            return np.load(self._latents(shot, number, told), allow_pickle=False)
        except DAMAGE:
            return None  # the chunk is made once more

    def sweep_latents(self, shot: str) -> None:
        """Removes those of a shot that is done. Raises OSError."""
        for path in self.shot(shot).glob("*.npy"):
            path.unlink(missing_ok=True)

    def sweep(self, shot: str) -> None:
        """Removes the files of a shot that will not be made."""
        shutil.rmtree(self.shot(shot), ignore_errors=True)

    def _record(self, shot: str) -> pathlib.Path:
        return self.shot(shot) / "record.npz"

    def _latents(self, shot: str, number: int, told: str) -> pathlib.Path:
        return self.shot(shot) / f"{number:03d}.{told}.npy"


class Store:
    """The folder of all stories. is_shared: whether other servers use it too."""

    def __init__(self, folder: pathlib.Path, is_shared: bool = False) -> None:
        self.folder = folder
        self.is_shared = is_shared

    def create(self, head: Story, story: str | None = None) -> StoryFolder:
        """A new story's folder, or the one that is there.

        head: the story without shots. story: its name, by default a new one. Raises OSError.
        """
        path = self.folder / (story or new_id())
        if story is not None and (path / _HEAD).exists():
            return self.open(story)
        path.mkdir(parents=True, exist_ok=True)
        made = StoryFolder(path, head, self.is_shared)
        made.log.make()
        _write_head(path, head)
        _keep_entry(self.folder)
        return made

    @contextlib.contextmanager
    def new_folder(self) -> Iterator[pathlib.Path]:
        """A folder to unpack a story into; it is removed if `adopt` has not taken it."""
        folder = self.folder / f"{_GONE}{new_id()}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(
        self, story: str, unpacked: StoryFolder, events: Sequence[dict[str, Any]]
    ) -> StoryFolder:
        """Makes an unpacked folder a story, unless it is there already. Raises OSError."""
        path = self.folder / story
        if not path.exists():
            unpacked.log.append(events)
            _write_head(unpacked.path, unpacked.head)
            unpacked.path.rename(path)
            _keep_entry(self.folder)
        return self.open(story)

    def open(self, story: str) -> StoryFolder:
        """A story's folder.

        Raises FileNotFoundError if there is none, and InputError if it is damaged.
        """
        # A name is checked before it becomes a path.
        if not is_id(story):
            raise FileNotFoundError(story)
        path = self.folder / story / _HEAD
        try:
            fields = json.loads(path.read_text("utf-8"))
            fields["video"] = VideoFormat(**fields["video"])
            return StoryFolder(path.parent, Story(**fields), self.is_shared)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(f"{path} is damaged: {error}") from None

    def names(self) -> list[str]:
        """The names of all stories."""
        if not self.folder.exists():
            return []
        return sorted(path.name for path in self.folder.iterdir() if is_id(path.name))

    def remove(self, story: str) -> None:
        """Removes a story: it is gone at once, its files are removed after that. Raises OSError."""
        gone = self.folder / f"{_GONE}{new_id()}"
        (self.folder / story).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what an interrupted removal has left."""
        for path in self.folder.glob(f"{_GONE}*"):
            if not self.is_shared or time.time() - path.stat().st_mtime > _LONG_GONE:
                shutil.rmtree(path, ignore_errors=True)


def _write_head(path: pathlib.Path, head: Story) -> None:
    """What all shots of a story share. Raises OSError."""
    fields = dataclasses.asdict(head)
    del fields["shots"]
    write_json(path / _HEAD, fields)


def _keep_entry(folder: pathlib.Path) -> None:
    """Has the disk keep a folder's new entry. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
