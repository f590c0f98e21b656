"""Messages above the line that a person is typing, which stays where it is."""

import contextlib
import logging
import os
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import TextIO

# Codes of ECMA-48 and the VT102, which all terminals know that edit lines.
_DOWN_A_LINE = "\x1bD"  # keeps the column; scrolls at the bottom
_UP = "\x1b[{}A"
_DOWN = "\x1b[{}B"
_INSERT = "\x1b[{}L"
_SAVE_PLACE = "\x1b7"
_TO_PLACE = "\x1b8"


class Terminal:
    """Writes whole lines to a terminal, above the one that is being typed.

    stream: the terminal. is_asking: whether a line is being typed.
    """

    def __init__(self, stream: TextIO):
        self.is_asking = False
        self._stream = stream
        self._has_codes = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._lock = threading.Lock()
        self._rest = ""  # of a line that has not ended

    def write(self, text: str) -> None:
        """Writes what is a whole line by now, as a stream does."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if lines:
                self._insert(lines)

    def flush(self) -> None:
        """Nothing: a line is shown when it ends."""

    def say(self, line: str) -> None:
        """Writes a line."""
        self.write(f"{line}\n")

    def leave_line(self) -> None:
        """Leaves a line that is still being typed as it is; what is written next is below it."""
        if self.is_asking:
            self.is_asking = False
            self.say("")

    def draw(self, picture: str, rows: int) -> None:
        """Shows a picture, as codes that paint it from the cursor on over so many rows."""
        with self._lock:
            self._insert([picture], rows)

    def _insert(self, lines: list[str], rows: int | None = None) -> None:
        """Puts lines above the one that is typed. rows: how many they take, if that is known."""
        is_text = rows is None
        if is_text and not (self.is_asking and self._has_codes):
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
            return
        columns = shutil.get_terminal_size().columns
        if rows is None:
            lines = _rows(lines, columns)
            rows = len(lines)
        # Room below the typed line, which is then moved down into it with the cursor's place.
        codes = [_DOWN_A_LINE * rows, _UP.format(rows), _SAVE_PLACE, "\r", _INSERT.format(rows)]
        codes += ["\r\n".join(lines), _TO_PLACE, _DOWN.format(rows)]
        self._stream.write("".join(codes))
        self._stream.flush()


def _rows(lines: list[str], columns: int) -> list[str]:
    """Lines as rows of a terminal; the last column is left free."""
    rows: list[str] = []
    for line in lines:
        # As it is, but for where it goes on in the next row.
        broken = textwrap.wrap(
            line, max(1, columns - 1), drop_whitespace=False, replace_whitespace=False
        )
        rows += broken or [""]
    return rows


@contextlib.contextmanager
def messages_on(screen: Terminal) -> Iterator[None]:
    """Inside, what is logged to standard error goes to the screen."""
    changed = []
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
            changed.append((handler, handler.setStream(screen)))
    try:
        yield
    finally:
        for handler, stream in changed:
            handler.setStream(stream)
