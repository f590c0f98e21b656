"""Stories that were broken off because the disk refused a file: they go on when it takes it."""

from absl import logging

from shotstream_jax.serve.refusal import Refusal
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.serve.studio import Studio

_REMOVED = 404


class BrokenOff:
    """The stories of a studio that were broken off. Any thread may call it."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._names: set[str] = set()

    def add(self, desk: StoryDesk, error: OSError) -> None:
        """Ends a story; what was in the making is made again, from what is on disk."""
        logging.error("story %s is broken off: %s", desk.id, error)
        self._studio.put_out(desk)
        self._names.add(desk.id)

    def reopen(self) -> None:
        """Opens each of them again, which offers what is to be made.

        Those that the disk still refuses come back here. Of a shared folder another server may have
        taken them by now: there, whoever looks for unfinished stories finds them.
        """
        for story in list(self._names):
            self._names.discard(story)
            if self._studio.settings.is_shared:
                continue
            try:
                self._studio.desk(story)
            except Refusal as refusal:
                if refusal.status != _REMOVED:
                    self._names.add(story)
