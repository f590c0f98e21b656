"""Progress bars of all commands: a bar at a terminal, elsewhere a line now and then."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

_SECONDS_A_LINE = 15.0  # at least, where there is no terminal
_LINE = "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class _Lines(tqdm):
    """tqdm for a file or a pipe: whole lines, few of them, and the last one."""

    disable: bool
    _said = 0.0  # when the last line was written

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Writes a line, if the last one is long ago."""
        now = time.monotonic()
        if now - self._said >= _SECONDS_A_LINE:
            self._said = now
            self._write(msg or str(self))
        return True

    def clear(self, nolock: bool = False) -> None:
        """Nothing: a line that is written stays."""

    def close(self) -> None:
        """The last line."""
        if self.disable:
            return
        self._write(str(self))
        self.disable = True
        self._decr_instances(self)

    def _write(self, text: str) -> None:
        sys.stderr.write(text.strip() + "\n")
        sys.stderr.flush()


def progress_bar(items: Iterable[Any] | None = None, **options: Any) -> Any:
    """tqdm(items, **options) that writes no carriage returns where nobody sees a bar."""
    if sys.stderr.isatty():
        return tqdm(items, **options)
    # Every refresh is asked for; `display` says which of them are shown.
    options = {"bar_format": _LINE, "mininterval": 1.0} | options
    return _Lines(items, **options)


@contextlib.contextmanager
def waiting(bar: Any, what: str) -> Iterator[None]:
    """The bar says what is being waited for inside, and its clock goes on."""
    done = threading.Event()
    bar.set_description_str(what)

    def tick() -> None:
        """Shows the time each second."""
        while not done.wait(1.0):
            bar.refresh()

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    finally:
        done.set()
        ticking.join()
        bar.set_description_str("", refresh=False)
