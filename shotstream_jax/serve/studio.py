"""All stories of a server: made, opened, changed and removed. What is done with their shots:
shot_commands. Each command is on disk before it is answered."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve import ids
from shotstream_jax.serve.awake import Awake, let_idle_go, make_room_for_story
from shotstream_jax.serve.refusal import Refusal, conflict, invalid, moved, no_disk, no_story
from shotstream_jax.serve.rules import AskRules
from shotstream_jax.serve.settings import ServeSettings
from shotstream_jax.serve.store import Store, StoryFolder
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.serve.story_log import TakenError
from shotstream_jax.serve.turns import Turns


class Studio:
    """All stories of a server. Any thread may call it.

    model, video: what all shots are made with. turns: where shots that are to be made are offered.
    rules: what may be asked for.
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
        self.rules = AskRules(model, video, settings.limits)
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
            self.commit(desk, [{"event": "title", "title": title}])
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
                    self.rules.check_parent(desk, head)
                events.append({"event": "head", "shot": head})
            if "title" in changes and changes["title"] != desk.board.title:
                events.append({"event": "title", "title": changes["title"]})
            self.commit(desk, events)

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
        return self.rules.why_not(folder)

    def check_story(self, story: Story) -> None:
        """Refuses a story that this server's model cannot go on with. Raises InputError."""
        self.rules.check_story(story)

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

    def commit(self, desk: StoryDesk, events: Sequence[dict[str, Any]]) -> None:
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
