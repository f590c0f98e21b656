"""Ctrl-C while a device computes: the first ends the run in order, the second at once.

Python notices a Ctrl-C only when it is back from the device, which may take as long as a chunk. So
a thread watches for it meanwhile, says what will happen, and obeys the second one.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

_INTERRUPTED = 130
_PATIENCE = 0.5  # seconds in which most runs have ended after a Ctrl-C


@contextlib.contextmanager
def watched_interrupts() -> Iterator[None]:
    """Lets a second Ctrl-C end the process at once. What is on disk then stays as it is.

    Outside of the main thread, where Python has no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Python writes a signal's number into this pipe the moment it comes.
    numbers, signals = os.pipe()
    os.set_blocking(signals, False)
    before = signal.set_wakeup_fd(signals, warn_on_full_buffer=False)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(numbers, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.close(signals)  # ends the watcher
        watcher.join()
        os.close(numbers)


def _watch(numbers: int, ended: threading.Event) -> None:
    """Reads the signals that come until the pipe is closed."""
    interrupts = 0
    while number := os.read(numbers, 1):
        if number[0] != signal.SIGINT:
            continue
        interrupts += 1
        if interrupts > 1:
            sys.stderr.write("\ninterrupted at once\n")
            sys.stderr.flush()
            os._exit(_INTERRUPTED)
        if not ended.wait(_PATIENCE):
            sys.stderr.write("\nending after this chunk; Ctrl-C again ends at once\n")
            sys.stderr.flush()
