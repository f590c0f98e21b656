"""Where lines wait that a person or a script has written, until the next chunk's boundary."""

import queue
import threading

from shotstream_jax.generate.storyteller.commands import StoryLine

INTERRUPT = "interrupt"  # a Ctrl-C
END = "end"  # no line comes any more
_AHEAD = 1000  # lines that are read before they are needed

Item = StoryLine | str


class Inbox:
    """Items from one thread to another; a Ctrl-C may put one in at any moment."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._first: list[Item] = []  # taken by `wait`
        self.has_ended = False  # whether END has been taken

    def put(self, item: Item) -> None:
        """Puts an item in, once there is room for it."""
        self._room.acquire()
        self._items.put(item)

    def interrupt(self) -> None:
        """Puts a Ctrl-C in, also while the same thread takes something out."""
        self._items.put(INTERRUPT)

    def wait(self) -> bool:
        """Waits for the first item; whether it is another one than the end."""
        self._first = [self._items.get()]
        return self._first != [END]

    def take(self, waits: bool) -> Item | None:
        """The next item; None if there is none, or none any more. waits: until there is one."""
        if self._first:
            item = self._first.pop()
        else:
            try:
                item = self._items.get(block=waits and not self.has_ended)
            except queue.Empty:
                return None
        if item is not INTERRUPT:
            self._room.release()
        if item is END:
            self.has_ended = True
            return None
        return item
