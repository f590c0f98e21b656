"""A story as a value: the tree of its shots, and the place that the next one follows.

    board = apply_event(board, event)       # for each line of the story's log

A board is the fold of its log, here and in the page (static/events.js). Nothing is overwritten: a
shot that is asked for another time is another shot, and going back moves the head.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.asked import Cue

LogLine = Mapping[str, Any]

QUEUED = "queued"
DONE = "done"
CANCELLED = "cancelled"
FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class BoardShot:
    """A shot of the tree.

    id, parent: its name, and that of the shot before it; None for a first shot.
    number: from 0, which is its depth in the tree.
    caption, take, frames, pins, styles: as they were asked for (generate/asked.Shot); a pin is
      {"shot", "frame"}, and all adapters that the model then had are named.
    asked_at: seconds since 1970.
    state: of QUEUED, DONE, CANCELLED, FAILED. That it is in the making is not in the log.
    cues: what it was told while it was made.
    cut: after how many chunks it was cut; None if it was not.
    chunks, first_frame, length: once it is done: its chunks, and its pixel frames in the film.
    hidden: whether its owner has put it away.
    reason: why it failed.
    deaths: how often the device has died of it.
    """

    id: str
    parent: str | None
    number: int
    caption: str
    take: int
    frames: int | None
    pins: tuple[Mapping[str, Any], ...]
    asked_at: float
    state: str = QUEUED
    cues: tuple[Cue, ...] = ()
    cut: int | None = None
    chunks: int = 0
    first_frame: int | None = None
    length: int | None = None
    hidden: bool = False
    reason: str = ""
    deaths: int = 0
    styles: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def is_there(self) -> bool:
        """Whether others may follow it."""
        return self.state in (QUEUED, DONE)

    def is_told(self, caption: str, again: bool) -> bool:
        """Whether it was last told just this: a request may come twice."""
        last = self.cues[-1] if self.cues else Cue(0, self.caption)
        return caption == last.caption and (last.again or not again)

    def told_by(self, chunk: int) -> str:
        """A name of all that decides what is in a chunk: another one if any of it is another."""
        first = self.cues[0].caption if self.cues else self.caption
        told = [cue for cue in self.cues[1:] if cue.chunk <= chunk]
        pins = [dict(pin) for pin in self.pins]
        decides = [self.parent, first, self.take, pins, dict(self.styles), told]
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Board:
    """A story: its shots by their names in the order in which they were asked for, the head (the
    shot that the next one follows; None for the beginning), its title, and the number of the last
    event."""

    shots: Mapping[str, BoardShot] = dataclasses.field(default_factory=dict)
    head: str | None = None
    title: str = ""
    seq: int = 0

    def queue(self) -> list[BoardShot]:
        """The shots that are to be made, in their order."""
        return [shot for shot in self.shots.values() if shot.state == QUEUED]

    def branch(self, last: str | None) -> list[BoardShot]:
        """The shots from the beginning to `last`."""
        shots = []
        while last is not None:
            shot = self.shots[last]
            shots.append(shot)
            last = shot.parent
        return shots[::-1]

    def followers(self, shot: str | None) -> list[BoardShot]:
        """The shots that directly follow one."""
        return [other for other in self.shots.values() if other.parent == shot]

    def next_take(self, parent: str | None, caption: str) -> int:
        """The lowest take that none of the parent's other followers with this caption has."""
        taken = set()
        for shot in self.followers(parent):
            if shot.is_there and shot.caption == caption:
                taken.add(shot.take)
        take = 0
        while take in taken:
            take += 1
        return take


def apply_event(board: Board, event: LogLine) -> Board:
    """The board after a line of the log. Raises InputError for a line that cannot follow."""
    try:
        if event["seq"] != board.seq + 1:
            raise InputError(f"line {event['seq']} of the log does not follow {board.seq}")
        board = dataclasses.replace(board, seq=event["seq"])
        return _apply(board, event)
    except (KeyError, TypeError) as error:
        raise InputError(f"line {board.seq + 1} of the log is damaged: {error}") from None


def _apply(board: Board, event: LogLine) -> Board:
    """The change itself."""
    kind = event["event"]
    if kind == "asked":
        return _asked(board, event)
    if kind == "head":
        return dataclasses.replace(board, head=event["shot"])
    if kind == "title":
        return dataclasses.replace(board, title=event["title"])
    # All others change one shot.
    shot = board.shots[event["shot"]]
    if kind == "edited":
        # What it was told before a restart does not count any more.
        changed = dataclasses.replace(shot, caption=event["caption"], take=event["take"], cues=())
    elif kind == "told":
        before = shot.cues or (Cue(0, shot.caption),)
        cue = Cue(event["chunk"], event["caption"], event["again"])
        changed = dataclasses.replace(shot, cues=(*before, cue))
    elif kind == "cut":
        changed = dataclasses.replace(shot, cut=event["chunks"])
    elif kind == "parent":
        parent = event["parent"]
        number = board.shots[parent].number + 1 if parent is not None else 0
        changed = dataclasses.replace(shot, parent=parent, number=number)
    elif kind == "done":
        changed = dataclasses.replace(
            shot,
            state=DONE,
            chunks=event["chunks"],
            first_frame=event["first_frame"],
            length=event["length"],
        )
    elif kind == "cancelled":
        changed = dataclasses.replace(shot, state=CANCELLED)
    elif kind == "failed":
        changed = dataclasses.replace(shot, state=FAILED, reason=event["reason"])
    elif kind == "died":
        changed = dataclasses.replace(shot, deaths=shot.deaths + 1)
    elif kind == "hidden":
        changed = dataclasses.replace(shot, hidden=event["hidden"])
    else:
        raise InputError(f"line {board.seq} of the log has the unknown event {kind!r:.40}")
    return dataclasses.replace(board, shots={**board.shots, shot.id: changed})


def _asked(board: Board, event: LogLine) -> Board:
    """A new shot, which the next one follows."""
    parent = event["parent"]
    shot = BoardShot(
        id=event["shot"],
        parent=parent,
        number=board.shots[parent].number + 1 if parent is not None else 0,
        caption=event["caption"],
        take=event["take"],
        frames=event["frames"],
        pins=tuple(event["pins"]),
        asked_at=event["at"],
        # Logs of older versions say nothing of adapters.
        styles=dict(event.get("styles", {})),
    )
    return dataclasses.replace(board, shots={**board.shots, shot.id: shot}, head=shot.id)


def without(board: Board, shot: BoardShot) -> list[dict[str, Any]]:
    """The events, without numbers, after which nothing queued follows a shot that is not made.

    The queue that followed it follows its parent, and so does the next shot if it was the head.
    """
    events: list[dict[str, Any]] = []
    # Those that follow its followers are named too: their numbers change.
    behind: dict[str | None, str | None] = {shot.id: shot.parent}
    for other in board.queue():
        if other.parent in behind:
            parent = behind[other.parent]
            events.append({"event": "parent", "shot": other.id, "parent": parent})
            behind[other.id] = other.id
    if board.head == shot.id:
        events.append({"event": "head", "shot": shot.parent})
    return events
