"""The thread that drives the device: it alone runs the model.

A turn is a chunk. Shots of several stories take turns, and each has the bits that it has alone
(generate/live).
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from shotstream_jax.core.devices import target_platform
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.generate.asked import Pin, Shot
from shotstream_jax.generate.live import LiveShot, advance, advance_with, begin, cut, retell
from shotstream_jax.generate.stream import warm_up
from shotstream_jax.model import Model
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve.board import BoardShot
from shotstream_jax.serve.filming import MEMORY_REMEDY, Filming, FilmJob, blamed
from shotstream_jax.serve.metrics import ServiceMetrics
from shotstream_jax.serve.pinned import pin_of
from shotstream_jax.serve.story_desk import StoryDesk
from shotstream_jax.serve.turns import Turns

_FIRST_FILM = 2.0  # seconds that a shot's second chunk waits at most for the first one's film


class _InHand(NamedTuple):
    """A shot that has a place. is_shown: is set when its first chunk is a film."""

    shot: str
    live: LiveShot
    is_shown: threading.Event


class Device:
    """Both threads, from `start` to `stop`.

    model, video: what all shots are made with. turns: whose turn it is. find: the open story of a
    name, None if it is gone. on_death: is called if a thread ends by an error.
    """

    def __init__(
        self,
        model: Model,
        video: VideoFormat,
        turns: Turns,
        filming: Filming,
        find: Callable[[str], StoryDesk | None],
        metrics: ServiceMetrics,
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._model = model
        self._video = video
        self._turns = turns
        self._filming = filming
        self._find = find
        self._metrics = metrics
        self._on_death = on_death
        self._live: dict[str, _InHand] = {}
        self.is_warm = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(run,), name=name, daemon=True)
            for name, run in (("device", self._run), ("filming", filming.run))
        ]

    def start(self) -> None:
        """Starts both threads; the first compiles the model's programs."""
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether both threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Ends after the chunk in hand; what was started is on disk when this returns."""
        self._turns.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _guarded(self, run: Callable[[], None]) -> None:
        """A thread whose end by an error is not overlooked."""
        try:
            run()
        except BaseException as error:
            self._on_death(error)

    def _run(self) -> None:
        """The device's thread."""
        warm_up(self._model, self._video)
        self.is_warm.set()
        while (story := self._turns.next()) is not None:
            self._turn(story)
        self._filming.stop()

    def _turn(self, story: str) -> None:
        """A chunk of a story's shot; begins the shot if it is not in the making."""
        desk = self._find(story)
        if desk is None:
            self._give_up(story, None)
            return
        if story not in self._live and not self._begin(desk):
            self._give_up(story, desk)
            return
        shot = self._live[story].shot
        try:
            with blamed(desk, shot), memory_errors(MEMORY_REMEDY):
                self._go_on(desk)
        except InputError as error:
            self._give_up(story, desk)
            self._filming.put(FilmJob(desk, shot, failed=str(error)))

    def _begin(self, desk: StoryDesk) -> bool:
        """Begins the story's next shot. False if it has none that can be begun."""
        while (shot := desk.next_shot()) is not None:
            try:
                with blamed(desk, shot.id), memory_errors(MEMORY_REMEDY):
                    story = desk.memory(shot.parent)
                    asked = self._as_asked(desk, shot)
                    live = begin(self._model, story, asked)
            except InputError as error:
                self._filming.put(FilmJob(desk, shot.id, failed=str(error)))
                return False
            except OSError as error:
                self._filming.put(FilmJob(desk, shot.id, trouble=error))
                return False
            # If it was changed or cancelled meanwhile, what is to be made now is begun.
            if desk.begin(shot, live.progress.chunks, story.next_frame):
                self._live[desk.id] = _InHand(shot.id, live, threading.Event())
                return True
        return False

    def _as_asked(self, desk: StoryDesk, shot: BoardShot) -> Shot:
        """A shot of the board as the library takes it; one that was cut is asked for so long."""
        frames = shot.frames
        if shot.cut is not None:
            frames = shot.cut * self._model.preset.memory.chunk
        caption = shot.cues[0].caption if shot.cues else shot.caption
        pins: list[Pin] = []
        for wanted in shot.pins:
            pins.append(pin_of(self._model, desk, shot, wanted))
        return Shot(caption, shot.take, frames, tuple(pins), shot.styles)

    def _go_on(self, desk: StoryDesk) -> None:
        """The next chunk of the shot in the making, or its end."""
        shot, live, is_shown = self._live[desk.id]
        number = live.progress.chunks_made
        # Where the device is the processors, they first make the film of a shot's first chunk, for
        # which somebody waits. Other stories' chunks go on.
        if number == 1 and target_platform() == "cpu":
            is_shown.wait(_FIRST_FILM)
        step = desk.next_step()
        if step.is_over:
            self._give_up(desk.id, desk)
            self._metrics.shots.labels("cancelled").inc()
            self._filming.put(FilmJob(desk, shot))
            return
        if step.is_cut:
            story = cut(self._model, live)
            self._give_up(desk.id, desk)
            self._filming.put(FilmJob(desk, shot, story=story, chunks=len(live.made)))
            return
        for cue in step.told:
            live = retell(self._model, live, cue.caption, again=cue.again)
        # 1. The chunk, when the one before the last is a file.
        began = time.perf_counter()
        self._filming.wait_for_room()
        first_frame = live.progress.story.next_frame + live.progress.frames_made
        try:
            latents = desk.kept_latents(shot, number)
            if latents is None:
                live, chunk = advance(self._model, live)
            else:
                live, chunk = advance_with(self._model, live, latents)
        except BaseException:
            self._filming.give_room_back()
            raise
        self._live[desk.id] = _InHand(shot, live, is_shown)
        # 2. The place is free before the last chunk is a file, and the story's next shot begins
        # when it is.
        if live.is_finished:
            self._give_up(desk.id, desk)
        facts = {
            "shot": shot,
            "chunk": number,
            "chunks": live.progress.chunks,
            "first_frame": first_frame,
        }
        job = FilmJob(
            desk,
            shot,
            chunk,
            facts,
            chunk.story,
            live.progress.chunks,
            is_done=None if number else is_shown,
        )
        self._filming.put(job)
        self._metrics.chunks.observe(time.perf_counter() - began)

    def _give_up(self, story: str, desk: StoryDesk | None) -> None:
        """Frees a story's place. desk: the story as it had the place."""
        self._live.pop(story, None)
        self._turns.leave(story)
        # If it was closed and opened again meanwhile, it offered its shot while it had a place,
        # which did not count.
        now = self._find(story)
        if now is not None and now is not desk:
            now.offer()
