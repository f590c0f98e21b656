"""What people and programs can do with the shots of a story: ask, tell, cut, cancel, restore.

Each command is on disk before it is answered.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from shotstream_jax.serve import ids
from shotstream_jax.serve.board import DONE, QUEUED, BoardShot, without
from shotstream_jax.serve.refusal import conflict
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.serve.studio import Studio

HEAD: Any = object()  # the parent that a request did not name


class ShotCommands:
    """Of all open stories of a studio. Any thread may call it."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def ask(
        self,
        desk: StoryDesk,
        caption: str,
        parent: Any = HEAD,
        take: int | None = None,
        frames: int | None = None,
        pins: Sequence[Mapping[str, Any]] = (),
        key: str | None = None,
        styles: Mapping[str, float] = MappingProxyType({}),
    ) -> BoardShot:
        """Asks for a shot; it then is the head.

        parent: the shot that it follows, None for a first shot, HEAD for the head. take: by default
        the first one that is not there. key: of the client, with which the same request can be
        repeated. styles: strengths of adapters by their names. Raises Refusal.
        """
        self._studio.check_open()
        shot = ids.derived_id(self._studio.secret, "shot", desk.id, key) if key else ids.new_id()
        with desk.lock:
            if shot in desk.board.shots:
                return self._studio.rules.same(desk.board.shots[shot], caption, frames, pins)
            reason = self._studio.why_not(desk.folder)
            if reason is not None:
                raise conflict("other_model", reason, "open it where it was made")
            self._studio.rules.check_queue(desk)
            if parent is HEAD:
                parent = desk.board.head
            if parent is not None:
                self._studio.rules.check_parent(desk, parent)
            self._studio.rules.check_shot(desk, caption, take, frames, pins)
            if take is None:
                take = desk.board.next_take(parent, caption)
            asked = {
                "event": "asked",
                "shot": shot,
                "parent": parent,
                "caption": caption,
                "take": take,
                "frames": frames,
                "pins": [dict(pin) for pin in pins],
                "styles": self._studio.rules.strengths(styles),
            }
            self._studio.commit(desk, [asked])
            desk.offer()
            return desk.board.shots[shot]

    def retell(self, desk: StoryDesk, shot_id: str, caption: str, again: bool) -> BoardShot:
        """Another caption: of a shot in the queue, or of one in the making from its next chunk on.

        What it has been told already changes nothing. Raises Refusal.
        """
        with desk.lock:
            shot = self._studio.rules.queued(desk, shot_id)
            self._studio.rules.check_caption(caption)
            if shot.is_told(caption, again):
                return shot
            making = desk.making
            if making is None or making.shot != shot_id:
                take = desk.board.next_take(shot.parent, caption)
                event = {"event": "edited", "shot": shot_id, "caption": caption, "take": take}
            else:
                if making.started >= making.chunks or shot.cut is not None:
                    raise conflict(
                        "last_chunk",
                        "the shot's last chunk is being made",
                        "ask for another take, or for the next shot",
                    )
                event = {
                    "event": "told",
                    "shot": shot_id,
                    "chunk": making.started,
                    "caption": caption,
                    "again": again,
                }
            self._studio.commit(desk, [event])
            return desk.board.shots[shot_id]

    def cut(self, desk: StoryDesk, shot_id: str) -> BoardShot:
        """Ends a shot in the making after the chunk in hand. Raises Refusal."""
        with desk.lock:
            shot = self._studio.rules.shot(desk, shot_id)
            making = desk.making
            is_made = making is not None and making.shot == shot_id
            if shot.cut is not None or (is_made and shot.state == DONE):
                return shot
            if making is None or not is_made:
                raise conflict(
                    "not_in_the_making",
                    f"the shot is {shot.state}",
                    "cut a shot while it is made; DELETE cancels one in the queue",
                )
            # Nothing is left to be cut off if the last chunk has been started.
            if making.started < making.chunks:
                chunks = max(1, making.started)
                self._studio.commit(desk, [{"event": "cut", "shot": shot_id, "chunks": chunks}])
            return desk.board.shots[shot_id]

    def take_away(self, desk: StoryDesk, shot_id: str) -> None:
        """Cancels a shot that is to be made, or is in the making; puts any other one out of sight.

        Raises Refusal.
        """
        with desk.lock:
            shot = self._studio.rules.shot(desk, shot_id)
            events: list[dict[str, Any]] = []
            if shot.state == QUEUED:
                events.append({"event": "cancelled", "shot": shot_id})
                events.extend(without(desk.board, shot))
            elif not shot.hidden:
                events.append({"event": "hidden", "shot": shot_id, "hidden": True})
                if desk.board.head == shot_id:
                    events.append({"event": "head", "shot": shot.parent})
            self._studio.commit(desk, events)

    def restore(self, desk: StoryDesk, shot_id: str) -> BoardShot:
        """Brings a shot back that was put out of sight. Raises Refusal."""
        with desk.lock:
            shot = self._studio.rules.shot(desk, shot_id)
            if shot.hidden:
                self._studio.commit(desk, [{"event": "hidden", "shot": shot_id, "hidden": False}])
            return desk.board.shots[shot_id]
