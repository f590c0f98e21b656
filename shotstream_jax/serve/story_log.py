"""A story's log on disk: a line an event, written by one server at a time.

    <stories>/<story>/log.jsonl       as it is made
                     /log.7.jsonl     after seven servers of a shared folder have taken it

Where several servers share a folder, whoever is to write a story takes its log first: it renames
the file, in one step, so that the number in its name, its epoch, grows. The server before can no
longer open it, and what it adds in that very moment is told apart by the epoch in each line.
"""

import json
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from shotstream_jax.core.errors import InputError

_FIRST = "log.jsonl"
_NAME = re.compile(r"log(?:\.([1-9][0-9]*))?\.jsonl")


class TakenError(OSError):
    """Another server writes the log now."""


class StoryLog:
    """A story's log.

    folder: of the story. is_shared: whether other servers may write it; `take` makes it this one's.
    """

    def __init__(self, folder: pathlib.Path, is_shared: bool = False) -> None:
        self._folder = folder
        self._is_shared = is_shared
        self._epoch, self._path = _newest(folder)

    def make(self) -> None:
        """Makes an empty log, if there is none. Raises OSError."""
        self._path.touch()

    def take(self) -> None:
        """Makes this server the log's writer; from now on no other one adds to it.

        Raises OSError if the story has gone.
        """
        while True:
            epoch, path = _newest(self._folder)
            if epoch == 0:
                path.touch()
            own = self._folder / f"log.{epoch + 1}.jsonl"
            try:
                path.rename(own)
            except FileNotFoundError:
                continue  # another server was faster
            self._epoch = epoch + 1
            self._path = own
            return

    def is_own(self) -> bool:
        """Whether no other server has taken the log."""
        if not self._is_shared:
            return True
        # Opened, not looked up: a network's file system then asks its server.
        try:
            os.close(os.open(self._path, os.O_RDONLY))
        except FileNotFoundError:
            return False
        return True

    def append(self, events: Sequence[dict[str, Any]]) -> None:
        """Adds lines; they are on the disk when this returns.

        Raises OSError, and the log then is as it was; TakenError if another server has it.
        """
        lines = []
        for event in events:
            line = {**event, "epoch": self._epoch} if self._epoch else event
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        with open(self._path, "ab", opener=self._opened) as log:
            before = log.tell()
            try:
                log.write("".join(lines).encode())
                log.flush()
                os.fsync(log.fileno())
            except OSError:
                if self.is_own():
                    log.truncate(before)
                raise
        # Lines that were written after another server has read the log do not count.
        if not self.is_own():
            raise TakenError("another server has taken the story's log")

    def events(self) -> list[dict[str, Any]]:
        """The log's events. A line that was cut off by a crash was never answered: it is removed.

        Raises InputError if the log is damaged.
        """
        data = _read(self._path)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)
        return _counting(self._path, data[:whole])

    def peek(self) -> list[dict[str, Any]]:
        """The log's events, of a story that may be another server's. Raises InputError."""
        data = _read(self._path)
        return _counting(self._path, data[: data.rfind(b"\n") + 1])

    def changed_at(self) -> float:
        """When the log was last written, in seconds since 1970; 0 if there is none."""
        try:
            return self._path.stat().st_mtime
        except OSError:
            return 0.0

    def _opened(self, path: str, flags: int) -> int:
        """Opens the log to be added to. One that may be another server's is not made anew."""
        if self._is_shared:
            flags &= ~os.O_CREAT
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:
            raise TakenError("another server has taken the story's log") from None


def _newest(folder: pathlib.Path) -> tuple[int, pathlib.Path]:
    """(epoch, path) of the log that counts."""
    epoch = 0
    name = _FIRST
    for path in folder.glob("log*.jsonl"):
        found = _NAME.fullmatch(path.name)
        if found is not None and int(found[1] or 0) > epoch:
            epoch = int(found[1])
            name = path.name
    return epoch, folder / name


def _read(path: pathlib.Path) -> bytes:
    """A log's bytes, none if there is none. Raises InputError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _counting(path: pathlib.Path, data: bytes) -> list[dict[str, Any]]:
    """The events of whole lines, without their epochs.

    A line of a server that no longer was the writer does not count: one of a lower epoch than the
    line before it, and one that the next writer had not read. Raises InputError.
    """
    kept: list[tuple[int, dict[str, Any]]] = []
    try:
        for line in data.splitlines():
            event = json.loads(line)
            epoch = event.pop("epoch", 0)
            if kept and epoch < kept[-1][0]:
                continue
            while kept and kept[-1][0] < epoch and kept[-1][1]["seq"] >= event["seq"]:
                kept.pop()
            kept.append((epoch, event))
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return [event for _, event in kept]
