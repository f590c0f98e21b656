"""Whose turn it is on the device: a bounded number of places, and turns of a chunk each.

A story waits for a place a shot at a time, so ten queued shots of one do not hold up another. The
shots that have a place take turns by chunk, so no two are ever more than one chunk apart.
"""

import collections
import threading


class Turns:
    """The stories that wait for a place, and those that have one. Any thread may call it.

    places: how many shots may be in the making at once.
    """

    def __init__(self, places: int) -> None:
        self.places = places
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
                    # A free place goes to the story that has waited longest; its turn is now.
                    story, _ = self._waiting.popitem(last=False)
                    self._placed[story] = None
                    return story
                if self._placed:
                    story = next(iter(self._placed))
                    self._placed.move_to_end(story)
                    return story
                self._changed.wait()
            return None

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
        """How many stories get a place before this one; 0 if it does not wait."""
        with self._changed:
            if story not in self._waiting:
                return 0
            return list(self._waiting).index(story)
