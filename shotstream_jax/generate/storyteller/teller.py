"""Carries out what is told: shots are made chunk by chunk, and lines are obeyed between two."""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.settings import own_settings
from shotstream_jax.generate.asked import Picture, Pin, Shot
from shotstream_jax.generate.live import LiveShot, advance, begin, cut, restyle, retell
from shotstream_jax.generate.pins import pin_frame, pin_picture
from shotstream_jax.generate.progress import DecodedChunk, warn_of_prompt
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.storyteller.commands import StoryLine, count, help_page, written
from shotstream_jax.generate.storyteller.inbox import INTERRUPT, Inbox, Item
from shotstream_jax.generate.storyteller.keeping import Keeper
from shotstream_jax.generate.storyteller.telling import (
    Made,
    Telling,
    ancestor,
    another_take,
    enter,
    gone_back,
    interrupted,
    next_command,
    undone,
    with_shot,
)
from shotstream_jax.generate.stream import Chunk
from shotstream_jax.media.reader import read_frames
from shotstream_jax.media.rushes import FrameSpan, Rushes
from shotstream_jax.memory.cache import Caches
from shotstream_jax.model import Model

_SLOTS = 4  # adapters that a model has room for, and the rank that they may have …
_RANK = 32  # … before its programs are compiled anew
_PATIENCE = 5.0  # seconds between two lines about a shot that takes long


class _Running(NamedTuple):
    """The running shot.

    live: in the making. before: what it follows. first_frame: in the rushes. told_at: how many
    chunks there were when its caption was told. chunk: the last one, whose frames are on their way.
    """

    live: LiveShot
    before: Made
    first_frame: int
    told_at: int = 0
    chunk: DecodedChunk | None = None


class Storyteller:
    """Tells a story from an inbox.

    Args:
      model: the weights and sizes.
      story: that is begun, or continued.
      telling: its state at the beginning.
      keeper: of its shots.
      rushes: into which all frames go.
      report: of what is made.
      picture: of the first shot.
      is_typed: whether a person writes the lines; a script's mistake ends the telling.
      show: what else is done with a chunk's frames [p, y, x, 3] uint8.
    """

    def __init__(
        self,
        model: Model,
        story: Story,
        telling: Telling,
        keeper: Keeper,
        rushes: Rushes,
        report: Report,
        picture: Picture | None,
        is_typed: bool,
        show: Callable[[np.ndarray], object],
    ):
        self.model = model
        self.story = story  # as it stands
        self.telling = telling
        self._keeper = keeper
        self._rushes = rushes
        self._report = report
        self._pictures = [] if picture is None else [picture]  # of the next shot
        self._is_typed = is_typed
        self._show = show
        self._running: _Running | None = None
        self._caches: Caches | None = None  # of the last shot, for the next one
        self._adapters: dict[str, str] = {}  # names by their files
        self._interrupts = 0  # since the last line
        self._arrived = 0.0  # when the last frames did
        self._said = 0.0  # when the last line about the running shot was said

    @own_settings()
    def tell(self, inbox: Inbox) -> None:
        """Tells until the lines end and the last shot is made, or until it is left.

        Raises:
          InputError: for a script's line that cannot be carried out, or if the disk is full.
          KeyboardInterrupt: for a script's Ctrl-C.
        """
        while True:
            self._listen(inbox)
            chunks = None
            if self._running is not None:
                chunks = self._running.live.progress.chunks_made - self._running.told_at
            self.telling, command = next_command(self.telling, chunks)
            if command is not None and command.name == "quit":
                return
            if command is not None:
                self._obey(command)
            elif self._running is not None:
                self._advance(self._running)
            elif inbox.has_ended:
                return

    def _listen(self, inbox: Inbox) -> None:
        """Takes in the lines that are there, or waits for one if nothing else is to do."""
        is_idle = self._running is None and not self.telling.waiting
        while (item := inbox.take(waits=is_idle)) is not None:
            is_idle = False
            self._take_in(item)

    def _take_in(self, item: Item) -> None:
        """A line, or a Ctrl-C."""
        if item is INTERRUPT:
            self._interrupts += 1
            leaves = self._interrupts > 1
            if self._running is None and not leaves:
                logging.info("no shot is running: Ctrl-C again leaves, like /quit")
            self.telling, left_out = interrupted(self.telling, leaves)
        else:
            assert isinstance(item, StoryLine)
            self._interrupts = 0
            self.telling, left_out = enter(self.telling, item, self._is_typed)
        for command in left_out:
            logging.info("left out: %s", written(command))

    def _obey(self, command: StoryLine) -> None:
        """Carries a command out; a person is told why it cannot be."""
        try:
            self._carry_out(command)
        except InputError as error:
            if not self._is_typed:
                raise
            logging.warning("%s", error)

    def _carry_out(self, command: StoryLine) -> None:
        """Carries a command out. Raises InputError if that cannot be."""
        match command.name:
            case "caption":
                self._begin_next(command.text)
            case "take":
                self._take()
            case "retell":
                self._retell(command.text)
            case "cut" | "end":
                self._cut(is_asked=command.name == "cut")
            case "back":
                self._go(gone_back(self.telling, command.shot))
            case "undo":
                self._go(undone(self.telling))
            case "pin":
                self._pin(self._frame(command.shot, command.frame))
            case "picture":
                self._pin(pin_picture(self.model, self.story.video, command.text))
            case "style":
                self._style(command.text, command.strength)
            case "unpin":
                self.telling = dataclasses.replace(self.telling, pins=())
            case "fork":
                folder = self._keeper.fork(self.telling.head, command.text)
                logging.info("the story goes on in %s", folder)
            case "words":
                logging.info("%s", words_text(self.model, command.text))
            case "mistake":
                raise InputError(command.text)
            case "help":
                logging.info("%s", help_page())

    def _begin_next(self, caption: str) -> None:
        """Begins the story's next shot."""
        told = self.telling
        pictures = tuple(self._pictures)
        shot = Shot(caption, pins=told.pins, styles=told.styles, pictures=pictures)
        self._begin(shot, told.head)
        self._pictures.clear()

    def _begin(self, shot: Shot, before: Made) -> None:
        """Begins the shot that follows `before`."""
        story = self.story
        if before is not self.telling.head:
            story = self._keeper.story_at(before)
        live = begin(self.model, story, shot, caches=self._caches)
        self._caches = None
        # A person was told when the line came, and of another take there is nothing new to say.
        if not self._is_typed and not shot.take:
            warn_of_prompt(self.model, story, shot.caption)
        take = f", take {shot.take + 1}" if shot.take else ""
        logging.info("shot %d%s: %s", before.number + 1, take, shot.caption)
        self._running = _Running(live, before, self._rushes.frames)
        self._said = time.perf_counter()

    def _take(self) -> None:
        """Begins another take of the last shot."""
        head = self.telling.head
        if head.number == 0:
            raise InputError("there is no shot yet: write what the first one shows")
        record = self.story.record(head.number - 1)
        telling, take = another_take(self.telling, record.take)
        shot = Shot(record.caption, take, pins=record.pins, styles=telling.styles)
        self._begin(shot, ancestor(head, head.number - 1))
        self.telling = telling

    def _retell(self, caption: str) -> None:
        """Another caption for the running shot."""
        running = self._running
        if running is None:
            raise InputError("no shot is running: write the caption of the next one")
        live = retell(self.model, running.live, caption)
        if not self._is_typed:
            warn_of_prompt(self.model, live.progress.story, caption)
        chunks = live.progress.chunks_made
        self._running = running._replace(live=live, told_at=chunks)
        logging.info("shot %d from chunk %d on: %s", running.before.number + 1, chunks + 1, caption)

    def _style(self, file: str, strength: float) -> None:
        """Gives an adapter a strength, in the running shot and in all further ones."""
        name = self._adapter(file)
        strengths = {name: strength}
        running = self._running
        if running is not None:
            self._running = running._replace(live=restyle(self.model, running.live, strengths))
        styles = {**self.telling.styles, **strengths}
        self.telling = dataclasses.replace(self.telling, styles=styles)
        logging.info("the style %s has strength %g", name, strength)

    def _adapter(self, file: str) -> str:
        """The name of an adapter's file, which is put beside the model once."""
        from shotstream_jax.styles import read_style, with_styles

        if file not in self._adapters:
            style = read_style(file, self.model.preset)
            had = self.model.styles
            styles = [*had.styles, style] if had else [style]
            # Another number of slots, or another rank, is another program.
            slots = max(_SLOTS, len(styles))
            rank = max(style.rank, had.rank if had else _RANK)
            self.model = with_styles(self.model, styles, slots=slots, rank=rank)
            self._adapters[file] = style.name
        return self._adapters[file]

    def _advance(self, running: _Running) -> None:
        """Starts the running shot's next chunk, and hands out the frames of the one before."""
        live, chunk = advance(self.model, running.live)
        self._running = running._replace(live=live, chunk=chunk)
        if running.chunk is not None:
            self._hand_out(running.chunk)
        if chunk.story is not None:
            self._finish(chunk.story)

    def _cut(self, is_asked: bool) -> None:
        """Ends the running shot with the chunks that it has."""
        running = self._running
        if running is not None:
            self._finish(cut(self.model, running.live))
        elif is_asked:
            raise InputError("no shot is running: there is nothing to cut")

    def _finish(self, story: Story) -> None:
        """Keeps the running shot, which has come to its end. story: with it."""
        running = self._running
        assert running is not None and running.chunk is not None
        self._hand_out(running.chunk)
        # The next shot's caches are this one's; whatever fails now, it is not running any more.
        self._caches = running.live.caches
        self._running = None
        folder = self._keeper.keep(story, running.before)
        span = FrameSpan(running.first_frame, self._rushes.frames)
        made = Made(running.before.number + 1, folder, running.before, span)
        self._keeper.kept(made)
        self.telling = with_shot(self.telling, made)
        self.story = story
        logging.info("shot %d has %d frames", made.number, span.stop - span.start)

    def _hand_out(self, chunk: DecodedChunk) -> None:
        """Waits for a chunk's frames: into the film, the report and before the person's eyes."""
        frames = np.asarray(chunk.pixels)[0]
        now = time.perf_counter()
        seconds = now - max(self._arrived, chunk.asked)
        self._arrived = now
        self._rushes.write(frames)
        latents = chunk.latents[0]
        self._report.add(Chunk(chunk.shot, chunk.chunk, frames, latents, seconds, chunk.story))
        self._show(frames)
        if now - self._said > _PATIENCE and self._running is not None:
            self._said = now
            chunks = self._running.live.progress.chunks
            logging.info("shot %d, chunk %d of %d", chunk.shot + 1, chunk.chunk + 1, chunks)

    def _go(self, telling: Telling) -> None:
        """Goes to where the head of another telling is."""
        self.story = self._keeper.story_at(telling.head)
        self.telling = telling
        logging.info("the story has %s now", count(telling.head.number, "shot"))

    def _frame(self, shot: int, frame: int) -> Pin:
        """A frame of an earlier shot, both counted from 1."""
        head = self.telling.head
        if shot > head.number:
            raise InputError(f"/pin {shot}:{frame}: the story has {count(head.number, 'shot')}")
        story = self.story
        if shot <= story.shots[0].number:
            story = self._keeper.story_at(ancestor(head, shot))
        record = story.record(shot - 1)
        if frame > record.length:
            raise InputError(
                f"/pin {shot}:{frame}: shot {shot} has {count(record.length, 'frame')}"
            )
        # As the story keeps it, or else as its picture in the film.
        is_kept = record.first_frame + frame - 1 in record.frames
        span = ancestor(head, shot).span
        if is_kept or span is None:
            return pin_frame(story, shot - 1, frame - 1)
        place = np.array([span.start + frame - 1])
        picture = read_frames(self._rushes.path, place, story.video.height, story.video.width)[0]
        return pin_picture(self.model, story.video, picture, shot=shot - 1, caption=record.caption)

    def _pin(self, pin: Pin) -> None:
        """Gives a frame to all further shots."""
        pins = (*self.telling.pins, pin)
        if len(pins) > self.story.context:
            raise InputError(f"a shot sees {self.story.context} frames, all are pinned: /unpin")
        self.telling = dataclasses.replace(self.telling, pins=pins)
        logging.info("pinned: %d of the %d frames that a shot sees", len(pins), self.story.context)


def words_text(model: Model, beginning: str = "") -> str:
    """The words that a model knows, as /words tells them."""
    words = [word for word in model.tokenizer.words() if word.startswith(beginning)]
    if not words:
        return "the model has no such words of its own: it spells them"
    most = 400
    more = f" … and {len(words) - most} more" if len(words) > most else ""
    return " ".join(words[:most]) + more
