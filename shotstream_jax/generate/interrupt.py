"""Ctrl-C while a device computes: the first is obeyed in order, the second at once.

Python notices a Ctrl-C only when it is back from the device, which may take as long as a chunk. So
a thread watches for it meanwhile, says what will happen, and obeys the second one.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_INTERRUPTED = 130
_PATIENCE = 0.5  # seconds in which most runs have ended after a Ctrl-C


class Interrupts:
    """The Ctrl-C of a run, counted.

    came: how many there were. answered: how many of them harm no more (`answered_by`).
    ended: whether the run has ended. last_act: what is done before the process ends at once.
    say: how a line is told to the person.
    """

    def __init__(self) -> None:
        self.came = 0
        self.answered = 0
        self.ended = threading.Event()
        self.last_act: Callable[[], object] = _nothing
        self.say: Callable[[str], object] = _write

    @property
    def open(self) -> int:
        """How many were not answered."""
        return self.came - self.answered

    @contextlib.contextmanager
    def answered_by(
        self,
        answer: Callable[[], object],
        last_act: Callable[[], object],
        say: Callable[[str], object],
    ) -> Iterator[None]:
        """Inside, a Ctrl-C is answered by a call in place of the run's end.

        Only one that comes before the last one was answered ends the process, after `last_act`.
        Outside of the main thread nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            """Python calls it when it is back from the device."""
            self.answered += 1
            answer()

        before = signal.signal(signal.SIGINT, handle)
        self.last_act = last_act
        self.say = say
        try:
            yield
        finally:
            self.last_act = _nothing
            self.say = _write
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def watched_interrupts() -> Iterator[Interrupts]:
    """Lets a second Ctrl-C end the process at once. What is on disk then stays as it is.

    Outside of the main thread, where Python has no signals, nothing changes.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    # Python writes a signal's number into this pipe the moment it comes.
    numbers, signals = os.pipe()
    os.set_blocking(signals, False)
    before = signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(numbers, interrupts), daemon=True)
    watcher.start()
    try:
        yield interrupts
    finally:
        interrupts.ended.set()
        signal.set_wakeup_fd(before)
        os.close(signals)  # ends the watcher
        watcher.join()
        os.close(numbers)


def _watch(numbers: int, interrupts: Interrupts) -> None:
    """Reads the signals that come until the pipe is closed."""
    while number := os.read(numbers, 1):
        if number[0] != signal.SIGINT:
            continue
        interrupts.came += 1
        if interrupts.open > 1:
            interrupts.last_act()
            interrupts.say("interrupted at once")
            os._exit(_INTERRUPTED)
        interrupts.ended.wait(_PATIENCE)
        if interrupts.open and not interrupts.ended.is_set():
            interrupts.say("ending after this chunk; Ctrl-C again ends at once")


def _nothing() -> None:
    """What is done where nothing is to be done."""


def _write(line: str) -> None:
    """Tells a line to whoever looks at the screen, after the ^C that stands there."""
    sys.stderr.write(f"\n{line}\n")
    sys.stderr.flush()
