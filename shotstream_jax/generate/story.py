"""A story's memory between shots: a bounded, immutable value, and the folder that keeps it.

A live story holds its last C shots, or some more where it chooses among them (memory/choose):
captions, and the latents of the frames that later shots can ask for. With the seed, the model and
the format this is all that the next shot depends on.

On disk a story only grows: story.json, and one small record for each shot. One can go back to any
shot (`Story.load(folder, at=n)`), or continue it differently in another folder (`Story.fork`).
"""

import dataclasses
import itertools
import json
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable_folder, write_new, write_whole
from shotstream_jax.core.rng import check_seed
from shotstream_jax.core.values import as_path, number_between, whole_number
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story_files import (
    add_shot,
    head_path,
    oldest_remembered,
    read_head,
    read_shot,
    record_path,
    saved_shots,
    with_shared_pins,
)
from shotstream_jax.memory.choose import PAPER, check_rule, remembered_shots
from shotstream_jax.memory.plan import ShotPlan, plan_shot
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.prompts import check_text

_MOST_CONTEXT = 1000  # frames

_HEAD_TYPES: dict[str, type] = {
    "global_caption": str,
    "seed": int,
    "preset": str,
    "video": VideoFormat,
    "context": int,
    "shots": tuple,
    "fingerprint": str,
    "memory": str,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Story:
    """A story so far.

    global_caption: what all shots share.
    seed: of all noise (core/rng).
    preset, video: what it was made with; another model or format cannot continue it.
    context: the number C of context frames.
    shots: the last finished shots, C of them or fewer; by another rule than the paper's some more.
    fingerprint: of the model that makes it (checkpoint/checksum); "" where that is not known.
    memory: the rule by which its shots remember, of memory/choose.RULES, unless a shot names one.
    """

    global_caption: str
    seed: int
    preset: str
    video: VideoFormat
    context: int
    shots: tuple[ShotRecord, ...] = ()
    fingerprint: str = ""
    memory: str = PAPER

    def __post_init__(self) -> None:
        # numpy's numbers become Python's: the dataclass is frozen, and story.json takes no others.
        object.__setattr__(self, "seed", check_seed(self.seed))
        context = number_between(self.context, "context", 1, _MOST_CONTEXT)
        object.__setattr__(self, "context", context)
        # Fields may come from a file: a wrong type is an input error, not a crash later on.
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, kind in _HEAD_TYPES.items():
            value = values[name]
            if not isinstance(value, kind):
                raise InputError(f"a story's {name} must be {kind.__name__}, not {value!r:.40}")
        check_text(self.global_caption, "the global caption")
        check_rule(self.memory)

    @property
    def next_shot(self) -> int:
        """The number of the next shot."""
        return self.shots[-1].number + 1 if self.shots else 0

    @property
    def next_frame(self) -> int:
        """The number of the next shot's first frame in the video."""
        return self.shots[-1].stop_frame if self.shots else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the frames that it holds, kept and pinned; a frame that is both counts once."""
        sizes = {}
        for record in self.shots:
            pinned = [pin.latent for pin in record.pins]
            for latent in (*record.latents, *pinned):
                sizes[id(latent)] = latent.size * latent.dtype.itemsize
        return sum(sizes.values())

    @property
    def most_shots(self) -> int:
        """How many of its last shots it remembers."""
        return remembered_shots(self.memory, self.context)

    def is_begun_like(self, other: "Story") -> bool:
        """Whether two stories have all in common but their shots."""
        return self._head() == other._head()

    def add(self, record: ShotRecord) -> "Story":
        """The story one shot on; shots that no later one can ask for are forgotten.

        Raises InputError if the record is not of the story's next shot.
        """
        self.check_next(record)
        shots = (*self.shots, record)
        return dataclasses.replace(self, shots=shots[-self.most_shots :])

    def record(self, shot: int) -> ShotRecord:
        """That of a remembered shot. Raises InputError if the shot is forgotten, or not made."""
        for record in self.shots:
            if record.number == shot:
                return record
        remembered = [record.number + 1 for record in self.shots]
        raise InputError(f"shot {shot + 1} is not remembered: the story knows shots {remembered}")

    def check_next(self, record: ShotRecord) -> None:
        """Refuses a record that is not of the story's next shot. Raises InputError."""
        if not isinstance(record, ShotRecord):
            raise InputError(f"a shot's record must be a ShotRecord, not {record!r:.40}")
        if record.number != self.next_shot or record.first_frame != self.next_frame:
            raise InputError(
                f"the story's next shot is {self.next_shot + 1}, from frame {self.next_frame} on; "
                f"the record is of shot {record.number + 1}, from frame {record.first_frame} on: "
                "give the story as it was before it"
            )

    def plan_next(self) -> ShotPlan:
        """What the next shot is conditioned on by the paper's rule."""
        # Only the last C shots can be picked.
        shots = self.shots[-self.context :]
        intervals = [(record.first_frame, record.stop_frame) for record in shots]
        first_shot = shots[0].number if shots else 0
        return plan_shot(intervals, self.context, first_shot)

    @classmethod
    def of(cls, records: Iterable[ShotRecord], like: "Story") -> "Story":
        """A story of these shots, which follow each other, with all else like another story's.

        records: all of the story's, or at least the last that it remembers.
        like: what has its global caption, seed, preset, format, rule and fingerprint; its shots do
          not count.

        Raises InputError if they do not follow each other, if some are missing, or if one lacks
        frames that later shots can ask for, or is of another format.
        """
        story = dataclasses.replace(like, shots=())
        for record in records:
            # Of a longer story the shots that are forgotten may be left out.
            is_later = isinstance(record, ShotRecord) and record.number > 0
            if story.shots or not is_later:
                story.check_next(record)
            record.check(story.context)
            shots = (*story.shots, record)
            story = dataclasses.replace(story, shots=shots[-story.most_shots :])
        first = story.shots[0].number if story.shots else 0
        if first > 0 and len(story.shots) < story.most_shots:
            raise InputError(
                f"the records begin with shot {first + 1}: at least the story's last "
                f"{story.most_shots} shots are needed, or all of them"
            )
        shapes = {np.shape(latent) for record in story.shots for latent in record.latents}
        if len(shapes) > 1:
            raise InputError(f"the records are of stories of different formats: {sorted(shapes)}")
        return story

    def check(self, preset: Preset, fingerprint: str = "") -> None:
        """Refuses a model that the story was not made with.

        fingerprint: of the model, "" where it is not known.
        """
        if preset.name != self.preset or preset.memory.context != self.context:
            raise InputError(
                f"the story was made with {self.preset}, context {self.context}; "
                f"the model is {preset.name}, context {preset.memory.context}"
            )
        knows_both = self.fingerprint and fingerprint
        if knows_both and self.fingerprint != fingerprint:
            raise InputError(
                f"the story was made by other weights (fingerprint {self.fingerprint}) than the "
                f"model's ({fingerprint}): load those that made it, or go on all the same with "
                "--other-weights"
            )
        # Latents of another size would fail inside a compiled program.
        expected = (*preset.latent_grid(self.video), preset.dit.channels)
        for record in self.shots:
            for latent in record.latents:
                if latent.shape[1:] != expected:
                    raise InputError(
                        f"shot {record.number} of the story has latents of shape "
                        f"{latent.shape[1:]}, expected {expected}"
                    )

    def check_folder(self, folder: str | pathlib.Path) -> None:
        """Refuses a folder that this story could not be saved in, now and after its next shot.

        Changes nothing.
        """
        folder = check_writable_folder(folder, "the story's folder")
        if head_path(folder).exists() and read_head(folder, Story) != self._head():
            raise InputError(f"{folder} holds another story: name a new folder")
        # A shot that is there already would be another version of the one to come.
        if max(saved_shots(folder), default=-1) >= self.next_shot:
            raise InputError(
                f"{folder} already goes on after shot {self.next_shot}: fork into a new folder"
            )

    def save(self, folder: str | pathlib.Path) -> None:
        """Appends what the folder lacks. Save after every shot to be able to go back to every shot.

        Raises InputError if the folder holds another story, or another version of one of these
        shots.
        """
        folder = as_path(folder, "the story's folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Whoever else saves here at the same time: what is there first stays.
            is_new = write_new(head_path(folder), self._head_bytes)
            if not is_new and read_head(folder, Story) != self._head():
                raise InputError(f"{folder} holds another story: save into a new folder")
            # Shots that are there already are checked, the others are added.
            for record in self.shots:
                add_shot(folder, record, self.context, self.video)
        except OSError as error:
            raise InputError(f"cannot save the story to {folder}: {error.strerror}") from None

    @classmethod
    def load(cls, folder: str | pathlib.Path, at: int | None = None) -> "Story":
        """The story in a folder as it was after its first `at` shots (default: all of them).

        Raises InputError if the folder has no such shot, or if a file is damaged.
        """
        folder = as_path(folder, "the story's folder")
        story = cls(**read_head(folder, Story))
        last = max(saved_shots(folder), default=-1) + 1
        at = last if at is None else whole_number(at, "at")
        if not 0 <= at <= last:
            raise InputError(
                f"cannot go to shot {at} of {folder}: it has {last} shots, "
                f"so at must be from 0 to {last}"
            )
        oldest = oldest_remembered(folder, at, story.context, story.most_shots)
        records = tuple(read_shot(folder, n, story.context, story.video) for n in range(oldest, at))
        for before, after in itertools.pairwise(records):
            if before.stop_frame != after.first_frame:
                path = record_path(folder, after.number)
                raise InputError(f"{path} does not follow the shot before it")
        return dataclasses.replace(story, shots=with_shared_pins(records))

    @classmethod
    def fork(
        cls,
        folder: str | pathlib.Path,
        at: int,
        into: str | pathlib.Path,
        fingerprint: str | None = None,
    ) -> "Story":
        """Copies the first `at` shots into a new folder, to be continued there.

        fingerprint: of the model that continues it, where that is another one. Raises InputError if
        `into` is not empty.
        """
        folder = as_path(folder, "the story's folder")
        into = as_path(into, "the new story's folder")
        story = cls.load(folder, at)
        if fingerprint is not None:
            story = dataclasses.replace(story, fingerprint=fingerprint)
        try:
            into.mkdir(parents=True, exist_ok=True)
            if any(into.iterdir()):
                raise InputError(f"{into} is not empty: fork into a new folder")
            # Shots that were made before the story was first saved are not in the folder.
            for number in range(at):
                record = record_path(folder, number)
                if record.exists():
                    shutil.copy(record, into)
            write_whole(head_path(into), story._head_bytes())
        except OSError as error:
            raise InputError(f"cannot fork {folder} into {into}: {error.strerror}") from None
        return story

    def _head_bytes(self) -> bytes:
        """What is in story.json."""
        text = json.dumps(self._head(), indent=1, default=dataclasses.asdict)
        return (text + "\n").encode()

    def _head(self) -> dict[str, Any]:
        """What story.json holds: everything but the shots."""
        fields = [field.name for field in dataclasses.fields(self)]
        fields.remove("shots")
        return {name: getattr(self, name) for name in fields}
