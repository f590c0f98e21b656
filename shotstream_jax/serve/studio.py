"""What people and programs can do with stories. Each command is on disk before it is answered."""

import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve import ids
from shotstream_jax.serve.awake import Awake, let_idle_go, make_room_for_story
from shotstream_jax.serve.board import DONE, QUEUED, BoardShot, without
from shotstream_jax.serve.refusal import Refusal, conflict, invalid, moved, no_disk, no_story
from shotstream_jax.serve.rules import AskRules
from shotstream_jax.serve.settings import ServeSettings
from shotstream_jax.serve.store import Store, StoryFolder
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.serve.story_log import TakenError
from shotstream_jax.serve.turns import Turns

HEAD: Any = object()  # the parent that a request did not name


class Studio:
    """All stories of a server. Any thread may call it.

    model, video: what all shots are made with. turns: where shots that are to be made are offered.
    """

    def __init__(
        self, model: Model, video: VideoFormat, settings: ServeSettings, turns: Turns
    ) -> None:
        self.model = model
        self.video = video
        self.settings = settings
        self.limits = settings.limits
        self.store = Store(settings.folder, settings.is_shared)
        self.secret = ids.read_secret(settings.folder)
        self.is_stopping = False
        self._turns = turns
        self._rules = AskRules(model, video, settings.limits)
        self._lock = threading.Lock()
        self._awake: Awake = {}

    # Stories.

    def create(
        self,
        global_caption: str,
        seed: int,
        title: str,
        key: str | None,
        memory: str | None = None,
    ) -> StoryDesk:
        """A new story; the same one again for the same key of a client.

        memory: the rule by which it remembers, by default the server's. Raises Refusal.
        """
        self.check_open()
        rule = memory or self.settings.memory
        try:
            head = new_story(self.model, global_caption, seed, self.video, rule)
        except InputError as error:
            raise invalid(str(error)) from None
        story = ids.derived_id(self.secret, "story", key) if key else ids.new_id()
        with self._lock:
            desk = self._open(story)
            is_new = desk is None
            if desk is None:
                make_room_for_story(self._awake, self.limits.stories)
                try:
                    desk = self._seated(self.store.create(head, story))
                except OSError as error:
                    raise no_disk(story, error) from None
        if not desk.folder.head.is_begun_like(head):
            raise conflict("key_used", "this Idempotency-Key made another story", "take a new key")
        if is_new and title:
            self._commit(desk, [{"event": "title", "title": title}])
        return desk

    def blank(self, global_caption: str) -> Story:
        """A story that is not kept, to try prompts with."""
        return new_story(self.model, global_caption, 0, self.video)

    def desk(self, story: str) -> StoryDesk:
        """An open story. Raises Refusal if there is none of that name, or if it is damaged."""
        with self._lock:
            desk = self._open(story)
        if desk is None:
            raise no_story()
        return desk

    def find(self, story: str) -> StoryDesk | None:
        """A story that is in memory."""
        return self._awake.get(story)

    def role(self, story: str, token: str) -> str | None:
        """What a token allows in a story, of ids.OWNER and ids.VIEWER; None for nothing."""
        return ids.role_of(self.secret, story, token)

    def tokens(self, story: str) -> tuple[str, str]:
        """The owner's token and the one that only shows."""
        owner = ids.story_token(self.secret, story, ids.OWNER)
        return owner, ids.story_token(self.secret, story, ids.VIEWER)

    def remove(self, story: str) -> None:
        """Removes a story and all that is made of it. Raises Refusal."""
        with self._lock:
            desk = self._open(story)
            if desk is None:
                raise no_story()
            desk.close()
            self._awake.pop(story, None)
            try:
                self.store.remove(story)
            except OSError as error:
                raise no_disk(story, error) from None

    def change(self, desk: StoryDesk, changes: Mapping[str, Any]) -> None:
        """Moves the head, gives a title, or both, by what `changes` has. Raises Refusal."""
        with desk.lock:
            events: list[dict[str, Any]] = []
            if "head" in changes and changes["head"] != desk.board.head:
                head = changes["head"]
                if head is not None:
                    self._rules.check_parent(desk, head)
                events.append({"event": "head", "shot": head})
            if "title" in changes and changes["title"] != desk.board.title:
                events.append({"event": "title", "title": changes["title"]})
            self._commit(desk, events)

    # Shots.

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
        self.check_open()
        shot = ids.derived_id(self.secret, "shot", desk.id, key) if key else ids.new_id()
        with desk.lock:
            if shot in desk.board.shots:
                return self._rules.same(desk.board.shots[shot], caption, frames, pins)
            reason = self.why_not(desk.folder)
            if reason is not None:
                raise conflict("other_model", reason, "open it where it was made")
            self._rules.check_queue(desk)
            if parent is HEAD:
                parent = desk.board.head
            if parent is not None:
                self._rules.check_parent(desk, parent)
            self._rules.check_shot(desk, caption, take, frames, pins)
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
                "styles": self._rules.strengths(styles),
            }
            self._commit(desk, [asked])
            desk.offer()
            return desk.board.shots[shot]

    def retell(self, desk: StoryDesk, shot_id: str, caption: str, again: bool) -> BoardShot:
        """Another caption: of a shot in the queue, or of one in the making from its next chunk on.

        What it has been told already changes nothing. Raises Refusal.
        """
        with desk.lock:
            shot = self._rules.queued(desk, shot_id)
            self._rules.check_caption(caption)
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
            self._commit(desk, [event])
            return desk.board.shots[shot_id]

    def cut(self, desk: StoryDesk, shot_id: str) -> BoardShot:
        """Ends a shot in the making after the chunk in hand. Raises Refusal."""
        with desk.lock:
            shot = self._rules.shot(desk, shot_id)
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
                self._commit(desk, [{"event": "cut", "shot": shot_id, "chunks": chunks}])
            return desk.board.shots[shot_id]

    def take_away(self, desk: StoryDesk, shot_id: str) -> None:
        """Cancels a shot that is to be made, or is in the making; puts any other one out of sight.

        Raises Refusal.
        """
        with desk.lock:
            shot = self._rules.shot(desk, shot_id)
            events: list[dict[str, Any]] = []
            if shot.state == QUEUED:
                events.append({"event": "cancelled", "shot": shot_id})
                events.extend(without(desk.board, shot))
            elif not shot.hidden:
                events.append({"event": "hidden", "shot": shot_id, "hidden": True})
                if desk.board.head == shot_id:
                    events.append({"event": "head", "shot": shot.parent})
            self._commit(desk, events)

    def restore(self, desk: StoryDesk, shot_id: str) -> BoardShot:
        """Brings a shot back that was put out of sight. Raises Refusal."""
        with desk.lock:
            shot = self._rules.shot(desk, shot_id)
            if shot.hidden:
                self._commit(desk, [{"event": "hidden", "shot": shot_id, "hidden": False}])
            return desk.board.shots[shot_id]

    # The server's own side.

    def resume(self) -> int:
        """Offers what was to be made when the server ended; returns how many stories have some."""
        self.store.sweep()
        count = 0
        for story in self.store.names():
            try:
                desk = self.desk(story)
            except Refusal:
                continue
            if desk.board.queue() and self.why_not(desk.folder) is None:
                count += 1
            else:
                self._awake.pop(story, None)
        return count

    def sleep(self) -> None:
        """Lets stories leave the memory that nobody has watched or changed for a while."""
        with self._lock:
            let_idle_go(self._awake, self.limits.idle)

    def let_go(self) -> None:
        """Closes what another server has taken and is watched or made here."""
        for desk in list(self._awake.values()):
            is_used = desk.viewers() or desk.making is not None
            if is_used and not desk.folder.log.is_own():
                self.put_out(desk)

    def adopt(
        self, story: str, unpacked: StoryFolder, events: Sequence[dict[str, Any]]
    ) -> StoryDesk:
        """Opens a story that has been unpacked and checked. Raises Refusal."""
        with self._lock:
            try:
                self.store.adopt(story, unpacked, events)
            except OSError as error:
                raise no_disk(story, error) from None
        desk = self.desk(story)
        is_same = desk.folder.head.is_begun_like(unpacked.head)
        if not is_same or desk.log[: len(events)] != list(events):
            raise conflict("key_used", "this Idempotency-Key opened another file", "take a new key")
        return desk

    def why_not(self, folder: StoryFolder) -> str | None:
        """Why this server's model cannot go on with a story; None if it can."""
        return self._rules.why_not(folder)

    def check_story(self, story: Story) -> None:
        """Refuses a story that this server's model cannot go on with. Raises InputError."""
        self._rules.check_story(story)

    def awake(self) -> int:
        """How many stories are in memory."""
        return len(self._awake)

    def stop(self) -> None:
        """No story or shot is taken any more."""
        self.is_stopping = True

    def close(self) -> None:
        """Ends all stories for their viewers."""
        for desk in list(self._awake.values()):
            desk.close()

    def _open(self, story: str) -> StoryDesk | None:
        """The story's desk, from the disk if need be; None if there is none."""
        desk = self._awake.get(story)
        if desk is not None and desk.folder.log.is_own():
            desk.touched = time.monotonic()
            return desk
        if desk is not None:
            # Another server has taken it since.
            desk.close()
            del self._awake[story]
        try:
            folder = self.store.open(story)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise no_disk(story, error) from None
        except InputError as error:
            raise conflict("damaged", "the story is damaged", "see the server's log") from error
        make_room_for_story(self._awake, self.limits.stories)
        try:
            return self._seated(folder)
        except FileNotFoundError:
            return None  # it has been removed in this moment
        except InputError as error:
            raise conflict("damaged", "the story is damaged", "see the server's log") from error

    def _seated(self, folder: StoryFolder) -> StoryDesk:
        """A story in memory, where this server writes it. Raises OSError, and InputError."""
        if self.settings.is_shared:
            folder.take()
        desk = StoryDesk(folder, self._turns.offer)
        self._awake[folder.id] = desk
        # What was to be made when it was last in memory.
        if self.why_not(folder) is None:
            desk.offer()
        return desk

    def put_out(self, desk: StoryDesk) -> None:
        """Ends a story here, for its viewers and for the device, until it is opened again."""
        with self._lock:
            desk.close()
            if self._awake.get(desk.id) is desk:
                del self._awake[desk.id]

    def _commit(self, desk: StoryDesk, events: Sequence[dict[str, Any]]) -> None:
        """Events on disk. Raises Refusal if the disk or the story is full, or the story is gone."""
        if not events:
            return
        if desk.is_closed:
            raise no_story()
        if desk.board.seq + len(events) > self.limits.events:
            raise conflict("story_full", "the story has too many changes", "make another story")
        try:
            desk.commit(events)
        except TakenError:
            desk.close()
            raise moved() from None
        except OSError as error:
            raise no_disk(desk.id, error) from None

    def check_open(self) -> None:
        """Raises Refusal if the server is stopping."""
        if self.is_stopping:
            raise Refusal(503, "stopping", "the server is stopping", "try again in a moment", 5)
