"""An open story: its board, its log, the shot that is in the making, and who watches.

People's commands, the device and the maker of chunk files meet here, each for a moment under the
story's lock. What is published goes into a feed, which viewers read at their own pace.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shotstream_jax.generate.asked import Cue
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.serve.board import DONE, QUEUED, Board, BoardShot, apply_event, without
from shotstream_jax.serve.store import StoryFolder


@dataclasses.dataclass
class Making:
    """The shot that is in the making.

    shot: its name. chunks: how many it will have. started, made: how many were started, and are
    files. first_frame: of the shot, in the film.
    """

    shot: str
    chunks: int
    first_frame: int
    started: int = 0
    made: int = 0


@dataclasses.dataclass(frozen=True)
class ChunkMade:
    """A chunk in the feed: its shot, its number, and what viewers are told of it."""

    shot: str
    chunk: int
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """What the device is to do next with the shot in the making.

    is_over: nothing, the shot is not wanted any more. is_cut: it ends here. told: cues that hold
    from the next chunk on.
    """

    is_over: bool = False
    is_cut: bool = False
    told: tuple[Cue, ...] = ()


class StoryDesk:
    """One open story. Any thread may call it; `lock` makes several calls one.

    folder: on disk. on_work: is called with the story's name when it has a shot to be made.
    """

    def __init__(self, folder: StoryFolder, on_work: Callable[[str], None]) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.making: Making | None = None
        self.is_closed = False
        self.touched = time.monotonic()
        self.log: list[dict[str, Any]] = folder.log.events()
        self.board = Board()
        for event in self.log:
            self.board = apply_event(self.board, event)
        # Events and chunks since the story was opened, in their order.
        self.feed: list[dict[str, Any] | ChunkMade] = []
        self._on_work = on_work
        self._watchers: dict[int, Callable[[], None]] = {}
        self._memories: dict[str, Story] = {}

    @property
    def id(self) -> str:
        """The story's name."""
        return self.folder.id

    def commit(self, events: Sequence[dict[str, Any]]) -> None:
        """Writes events to the log, then takes them over and tells the viewers.

        Raises OSError if the disk refuses them; nothing has changed then.
        """
        with self.lock:
            board = self.board
            lines = []
            for event in events:
                line = {"seq": board.seq + 1, "at": round(time.time(), 3), **event}
                board = apply_event(board, line)
                lines.append(line)
            self.folder.log.append(lines)
            self.board = board
            self.log.extend(lines)
            self._publish(*lines)

    def offer(self) -> None:
        """Says that there is a shot to be made, if there is."""
        if self.board.queue() and not self.is_closed:
            self._on_work(self.id)

    def tell(self, event: dict[str, Any]) -> None:
        """Tells the viewers what is not kept."""
        with self.lock:
            self._publish(event)

    def watch(self, wake: Callable[[], None]) -> int:
        """Has `wake` called whenever the feed grows; returns a number for `unwatch`."""
        with self.lock:
            number = max(self._watchers, default=0) + 1
            self._watchers[number] = wake
            return number

    def unwatch(self, number: int) -> None:
        """No longer calls it."""
        with self.lock:
            del self._watchers[number]
            self.touched = time.monotonic()

    def viewers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def close(self) -> None:
        """Ends the story for its viewers and for the device."""
        with self.lock:
            self.is_closed = True
            self._publish()

    # The device's side.

    def next_shot(self) -> BoardShot | None:
        """The shot that is to be made now; None if there is none, or if one is in the making."""
        with self.lock:
            queue = self.board.queue()
            if self.is_closed or self.making is not None or not queue:
                return None
            return queue[0]

    def begin(self, shot: BoardShot, chunks: int, first_frame: int) -> bool:
        """Marks a shot as in the making; False if it is not wanted any more as it was begun."""
        with self.lock:
            if self.is_closed or self.board.shots[shot.id] != shot:
                return False
            self.making = Making(shot.id, chunks, first_frame)
            self._publish(self.making_event())
            return True

    def making_event(self) -> dict[str, Any]:
        """What viewers are told of the shot in the making."""
        assert self.making is not None
        making = dataclasses.asdict(self.making)
        del making["started"]
        return {"event": "making", **making}

    def next_step(self) -> Step:
        """What to do at a chunk's boundary; counts the next chunk as started if there is one."""
        with self.lock:
            making = self.making
            if making is None or self.is_closed:
                return Step(is_over=True)
            shot = self.board.shots[making.shot]
            if shot.state != QUEUED:
                self.making = None
                return Step(is_over=True)
            if shot.cut is not None and shot.cut <= making.started:
                return Step(is_cut=True)
            told = tuple(cue for cue in shot.cues[1:] if cue.chunk == making.started)
            making.started += 1
            return Step(told=told)

    def memory(self, parent: str | None) -> Story:
        """The story as it is after a shot: what the next one depends on.

        Raises InputError if a record is missing or damaged, and OSError.
        """
        if parent is None:
            return self.folder.head
        kept = self._memories.get(parent)
        if kept is not None:
            return kept
        branch = self.board.branch(parent)[-self.folder.head.most_shots :]
        records = tuple(self.folder.read_record(shot.id) for shot in branch)
        return dataclasses.replace(self.folder.head, shots=records)

    # The side of what makes chunk files.

    def add_chunk(self, shot: str, number: int, film: bytes, facts: dict[str, Any]) -> None:
        """Keeps a chunk's file and tells the viewers. Raises OSError."""
        if not self._is_wanted(shot):
            return
        self.folder.write(self.folder.chunk(shot, number), film)
        with self.lock:
            if self.making is not None and self.making.shot == shot:
                self.making.made = number + 1
                self._publish(ChunkMade(shot, number, facts))

    def add_poster(self, shot: str, picture: bytes) -> None:
        """Keeps a shot's first picture. Raises OSError."""
        if self._is_wanted(shot):
            self.folder.write(self.folder.poster(shot), picture)

    def keep_latents(self, shot: str, number: int, latents: np.ndarray) -> None:
        """Keeps what a chunk was decoded from until the shot is done. Raises OSError."""
        if self._is_wanted(shot):
            told = self.board.shots[shot].told_by(number)
            self.folder.write_latents(shot, number, told, latents)

    def kept_latents(self, shot: str, number: int) -> np.ndarray | None:
        """Those of a chunk that was made before the server, or the one before it, ended."""
        return self.folder.read_latents(shot, number, self.board.shots[shot].told_by(number))

    def finish(self, shot: str, record: ShotRecord, story: Story, chunks: int) -> None:
        """Keeps a finished shot. Raises OSError."""
        if self._is_wanted(shot):
            self.folder.write_record(shot, record)
            self.folder.sweep_latents(shot)
        with self.lock:
            if self._is_wanted(shot):
                done = {
                    "event": "done",
                    "shot": shot,
                    "chunks": chunks,
                    "first_frame": record.first_frame,
                    "length": record.length,
                }
                self.commit([done])
                # The next shot most often follows this one.
                self._memories = {shot: story}
            self._end_making(shot)

    def fail(self, shot: str, reason: str) -> None:
        """A shot could not be made. Raises OSError."""
        # Where the story is kept is nobody's business.
        reason = reason.replace(f"{self.folder.path}/", "")
        with self.lock:
            if not self.is_closed and self.board.shots[shot].state == QUEUED:
                failed = {"event": "failed", "shot": shot, "reason": reason}
                self.commit([failed, *without(self.board, self.board.shots[shot])])
            self._end_making(shot)

    def blame(self, shot: str, error: Exception) -> None:
        """The device has died of a shot.

        After the restart it is made once more: the device may have had a trouble of its own. If it
        dies of it again the shot has failed, so that it does not end every server. Raises OSError.
        """
        with self.lock:
            asked = self.board.shots[shot]
            if self.is_closed or asked.state != QUEUED:
                return
            self.commit([{"event": "died", "shot": shot}])
            if asked.deaths:
                reason = f"the device has died of it twice ({type(error).__name__})"
                failed = {"event": "failed", "shot": shot, "reason": reason}
                self.commit([failed, *without(self.board, asked)])

    def put_away(self, shot: str) -> None:
        """Nothing of a shot is on its way any more: what there is of a cancelled one is removed."""
        with self.lock:
            if not self.is_closed:
                self._end_making(shot)

    def _is_wanted(self, shot: str) -> bool:
        with self.lock:
            is_open = not self.is_closed and self.folder.log.is_own()
            return is_open and self.board.shots[shot].state == QUEUED

    def _end_making(self, shot: str) -> None:
        """The place is free; the next shot of the queue may have it."""
        if self.making is not None and self.making.shot == shot:
            self.making = None
        # Of a story that another server has taken they are that one's.
        is_here = not self.is_closed and self.folder.log.is_own()
        if is_here and self.board.shots[shot].state != DONE:
            self.folder.sweep(shot)
        self.offer()

    def _publish(self, *items: dict[str, Any] | ChunkMade) -> None:
        """Lengthens the feed, and wakes whoever reads it."""
        self.feed.extend(items)
        self.touched = time.monotonic()
        for wake in list(self._watchers.values()):
            wake()
