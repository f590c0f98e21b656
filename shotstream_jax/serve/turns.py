"""Whose turn it is on the device: a bounded number of places, and turns of a chunk each.

A story waits for a place a shot at a time, so ten queued shots of one do not hold up another. The
shots that have a place take turns by chunk, so no two are ever more than one chunk apart.
"""

import collections
import threading
from collections.abc import Callable

_IN_ORDER = 4  # of so many free places one goes to whoever has waited longest


class Turns:
    """The stories that wait for a place, and those that have one. Any thread may call it.

    places: how many shots may be in the making at once. is_watched: whether somebody watches a
    story; by default none is preferred.
    """

    def __init__(self, places: int, is_watched: Callable[[str], bool] | None = None) -> None:
        self.places = places
        self._is_watched = is_watched
        self._given = 0
        self._waiting: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._placed: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._changed = threading.Condition()
        self._is_stopped = False

    def offer(self, story: str) -> None:
        """A story has a shot to be made. Nothing changes if it waits or has a place already."""
        with self._changed:
            if story not in self._placed:
                self._waiting.setdefault(story)
                self._changed.notify_all()

    def next(self) -> str | None:
        """The story whose turn it is; waits for one. None after `stop`."""
        with self._changed:
            while not self._is_stopped:
                if self._waiting and len(self._placed) < self.places:
                    story = self._next_waiting()
                    del self._waiting[story]
                    self._placed[story] = None
                    return story
                if self._placed:
                    story = next(iter(self._placed))
                    self._placed.move_to_end(story)
                    return story
                self._changed.wait()
            return None

    def _next_waiting(self) -> str:
        """The story that a free place goes to; its turn is now.

        The one that has waited longest of those that somebody watches: what was left behind does
        not hold them up. Every so-manieth place goes by the order alone, so nobody waits for ever.
        """
        self._given += 1
        if self._is_watched is not None and self._given % _IN_ORDER:
            for story in self._waiting:
                if self._is_watched(story):
                    return story
        return next(iter(self._waiting))

    def leave(self, story: str) -> None:
        """A story gives its place up, or no longer waits for one."""
        with self._changed:
            self._placed.pop(story, None)
            self._waiting.pop(story, None)
            self._changed.notify_all()

    def stop(self) -> None:
        """No turn is given any more."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def counts(self) -> tuple[int, int]:
        """(places in use, stories that wait)."""
        with self._changed:
            return len(self._placed), len(self._waiting)

    def ahead(self, story: str) -> int:
        """How many stories that are watched like it wait before this one; 0 if it does not wait."""
        with self._changed:
            if story not in self._waiting:
                return 0
            before = list(self._waiting)[: list(self._waiting).index(story)]
            if self._is_watched is None or not self._is_watched(story):
                return len(before)
            return len([other for other in before if self._is_watched(other)])
