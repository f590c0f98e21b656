"""The chunks of some shots in order: those that are made, then the others as they come."""

from collections.abc import Callable, Iterator

from shotstream_jax.client.errors import ShotEndedError, unknown_shot
from shotstream_jax.client.values import (
    CANCELLED,
    DONE,
    FAILED,
    RemoteChunk,
    RemoteState,
    RemoteVideo,
    StoryEvent,
)

Live = Iterator[StoryEvent | RemoteChunk]


class ShotEnds:
    """Which shots of a story are done, by its state at a moment and the events after it."""

    def __init__(self, state: RemoteState) -> None:
        self._known = set(state.shots)
        # A done shot's chunks and its place in the film; why another one will never be done.
        self._done: dict[str, tuple[int, int]] = {}
        self._lost: dict[str, tuple[str, str]] = {}
        for shot in state.shots.values():
            if shot.state == DONE and shot.first_frame is not None:
                self._done[shot.id] = (shot.chunks, shot.first_frame)
            elif shot.state in (CANCELLED, FAILED):
                self._lost[shot.id] = (shot.state, shot.reason)

    def note(self, event: StoryEvent) -> None:
        """Takes an event over."""
        fields = event.fields
        if event.kind == DONE:
            self._done[fields["shot"]] = (fields["chunks"], fields["first_frame"])
        elif event.kind in (CANCELLED, FAILED):
            self._lost[fields["shot"]] = (event.kind, fields.get("reason", ""))

    def of(self, shot: str) -> tuple[int, int] | None:
        """A done shot's chunks and first frame; None for one that is still to be made.

        Raises ShotEndedError for one that will not be, NotThereError for one that is not known.
        """
        if shot not in self._known:
            raise unknown_shot(shot)
        if shot in self._lost:
            state, reason = self._lost[shot]
            why = f" ({reason})" if reason else ""
            raise ShotEndedError(state, f"shot {shot} is {state}{why}", "ask for another one")
        return self._done.get(shot)


class ChunkReader:
    """Reads chunks.

    live: what happens in the story from `ends` on. fetch: reads the film of a shot's chunk.
    """

    def __init__(
        self, ends: ShotEnds, video: RemoteVideo, live: Live, fetch: Callable[[str, int], bytes]
    ) -> None:
        self._ends = ends
        self._video = video
        self._live = live
        self._fetch = fetch

    def read(self, shot: str) -> Iterator[RemoteChunk]:
        """All chunks of a shot, from the first. Raises as ShotEnds.of does."""
        count = 0
        end = self._ends.of(shot)
        # 1. As they are made. What comes of others is read when it is their turn.
        while end is None:
            item = next(self._live)
            if isinstance(item, StoryEvent):
                self._ends.note(item)
            elif item.shot == shot and item.number == count:
                yield item
                count += 1
            end = self._ends.of(shot)
        # 2. What there was before, all of it if the shot is done.
        chunks, first_frame = end
        for number in range(count, chunks):
            yield self._kept(shot, number, chunks, first_frame)

    def wait(self, shot: str) -> None:
        """Returns when a shot is done. Raises as ShotEnds.of does."""
        while self._ends.of(shot) is None:
            item = next(self._live)
            if isinstance(item, StoryEvent):
                self._ends.note(item)

    def _kept(self, shot: str, number: int, chunks: int, first_frame: int) -> RemoteChunk:
        """A chunk of a done shot."""
        video = self._video
        length = video.later_chunk
        if number == 0:
            length = video.first_chunk
        else:
            first_frame += video.first_chunk + (number - 1) * video.later_chunk
        film = self._fetch(shot, number)
        return RemoteChunk(shot, number, chunks, first_frame, length, film)
