"""Which stories of a shared folder have shots that are to be made.

After the death of a server nobody makes them until somebody asks for the story: so whoever lives
looks for them from time to time, and has them opened.
"""

from shotstream_jax.core.errors import InputError
from shotstream_jax.serve.board import Board, apply_event
from shotstream_jax.serve.store import Store
from shotstream_jax.serve.story_log import StoryLog


class Unfinished:
    """The stories of a folder that were unfinished at the last look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, float] = {}  # when its log was written
        self._found: set[str] = set()

    def names(self) -> list[str]:
        """Those that have queued shots now. Only logs that have changed are read."""
        seen: dict[str, float] = {}
        for story in self._store.names():
            log = StoryLog(self._store.folder / story, is_shared=True)
            seen[story] = log.changed_at()
            if seen[story] != self._seen.get(story):
                self._found.discard(story)
                if _has_queue(log):
                    self._found.add(story)
        self._seen = seen
        self._found &= seen.keys()
        return sorted(self._found)


def _has_queue(log: StoryLog) -> bool:
    """Whether shots of a story are to be made; a damaged one has none."""
    board = Board()
    try:
        for event in log.peek():
            board = apply_event(board, event)
    except InputError:
        return False
    return bool(board.queue())
