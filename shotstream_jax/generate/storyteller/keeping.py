"""The folders in which a telling is kept: one for each branch, since a story's folder only grows.

The first branch is kept in the folder that was asked for, others beside it, as NAME-2, NAME-3, …
"""

import dataclasses
import pathlib

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.outputs import next_free
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.storyteller.telling import Made


class Keeper:
    """Keeps each shot that is made, and finds the story again as it was after any of them.

    folder: where the branch is kept that was told last. is_for_good: whether it stays there.
    """

    def __init__(self, beginning: Made, story: Story, folder: pathlib.Path, is_for_good: bool):
        self.folder = folder
        self.is_for_good = is_for_good
        self._first = folder  # whose name the branches have
        self._story = story  # the head of every branch's file
        # What the folder ends with; what follows anything else is another branch.
        self._last: Made | None = beginning if beginning.folder == folder else None

    def keep(self, story: Story, before: Made) -> pathlib.Path:
        """Keeps a story whose last shot follows `before`; returns the folder where it is now.

        Raises InputError if the disk refuses it.
        """
        if self._last is not before:
            self._branch(before, next_free(self._first))
        story.save(self.folder)
        return self.folder

    def kept(self, made: Made) -> None:
        """Notes that the folder now ends with this shot."""
        self._last = made

    def story_at(self, made: Made) -> Story:
        """The story as it was after a shot. Raises InputError if it was not kept."""
        if made.number == 0:
            return dataclasses.replace(self._story, shots=())
        story = Story.load(made.folder, made.number)
        return dataclasses.replace(story, fingerprint=self._story.fingerprint)

    def fork(self, head: Made, name: str) -> pathlib.Path:
        """Copies the story into a folder of this name, in which it goes on.

        A plain name stands beside the folder so far, if that stays. Raises InputError if the name
        is taken or if there is no shot yet.
        """
        is_plain = "/" not in name
        folder = (
            self.folder.with_name(name) if is_plain and self.is_for_good else pathlib.Path(name)
        )
        if folder.exists():
            raise InputError(f"{folder} is there already: /fork with another name")
        if head.number == 0:
            raise InputError("there is no shot yet: /fork after one")
        self._branch(head, folder)
        self._last = head
        self._first = folder
        self.is_for_good = True
        return folder

    def _branch(self, before: Made, folder: pathlib.Path) -> None:
        """Begins a folder with the shots up to one."""
        if before.number:
            Story.fork(before.folder, before.number, folder, self._story.fingerprint)
        self.folder = folder
