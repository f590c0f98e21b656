"""The thread beside the device: pictures → chunk files, posters and records on disk.

It takes what the device has started in the same order. At most two chunks are on their way, so
that what people say at a chunk's boundary holds from the next chunk on.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import memory_errors
from shotstream_jax.generate.progress import DecodedChunk
from shotstream_jax.generate.story import Story
from shotstream_jax.media.encoder import enlarged
from shotstream_jax.media.formats import enlargement
from shotstream_jax.media.pictures import webp_bytes
from shotstream_jax.media.pieces import chunk_file
from shotstream_jax.serve.metrics import ServiceMetrics
from shotstream_jax.serve.story_desk import StoryDesk

ON_THEIR_WAY = 2
MEMORY_REMEDY = "ask for the shot again when fewer are in the making"


@contextlib.contextmanager
def blamed(desk: StoryDesk, shot: str) -> Iterator[None]:
    """Notes on disk whose shot it was if an error that nobody expects ends the server."""
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:
        with contextlib.suppress(OSError):
            desk.blame(shot, error)
        raise


class FilmJob(NamedTuple):
    """What is to be kept of a shot.

    desk, shot: whose. chunk: its next chunk, with what viewers are told of it; None if there is
    none. story: after its last chunk, the story with the shot. chunks: how many it then has.
    failed: why it could not be made. trouble: why the disk did not give what it is made of.
    is_done: is set when the job is done, or cannot be done.
    """

    desk: StoryDesk
    shot: str
    chunk: DecodedChunk | None = None
    facts: dict[str, Any] | None = None
    story: Story | None = None
    chunks: int = 0
    failed: str = ""
    trouble: OSError | None = None
    is_done: threading.Event | None = None


class Filming:
    """The jobs and what one does. on_trouble: is told if the disk refuses a file."""

    def __init__(
        self, metrics: ServiceMetrics, on_trouble: Callable[[StoryDesk, OSError], None]
    ) -> None:
        self._jobs: queue.SimpleQueue[FilmJob | None] = queue.SimpleQueue()
        self._metrics = metrics
        self._on_trouble = on_trouble
        self._free = threading.Semaphore(ON_THEIR_WAY)

    def wait_for_room(self) -> None:
        """Waits until another chunk may be started."""
        self._free.acquire()

    def give_room_back(self) -> None:
        """The chunk that there was room for was not started."""
        self._free.release()

    def put(self, job: FilmJob) -> None:
        """Hands a job over."""
        self._jobs.put(job)

    def stop(self) -> None:
        """The thread ends after the jobs that there are."""
        self._jobs.put(None)

    def run(self) -> None:
        """Does the jobs until it is stopped."""
        while (job := self._jobs.get()) is not None:
            try:
                self._keep(job)
            except OSError as error:
                self._on_trouble(job.desk, error)
            finally:
                if job.is_done is not None:
                    job.is_done.set()

    def _keep(self, job: FilmJob) -> None:
        """Does a job, or notes why the shot could not be made. Raises OSError."""
        try:
            with blamed(job.desk, job.shot):
                self._do(job)
        except InputError as error:
            self._metrics.shots.labels("failed").inc()
            job.desk.fail(job.shot, str(error))

    def _do(self, job: FilmJob) -> None:
        """One job."""
        if job.failed:
            raise InputError(job.failed)
        if job.trouble is not None:
            raise job.trouble
        if job.chunk is not None:
            assert job.facts is not None
            try:
                with memory_errors(MEMORY_REMEDY):
                    frames = np.asarray(job.chunk.pixels)[0]  # waits for the device
            finally:
                self._free.release()
            self._film(job.desk, job.shot, frames, job.facts, job.chunk.asked)
            # Should the server end now, the chunk need not be made again.
            if job.story is None:
                latents = np.asarray(job.chunk.latents)
                job.desk.keep_latents(job.shot, job.chunk.chunk, latents)
        if job.story is not None:
            job.desk.finish(job.shot, job.story.shots[-1], job.story, job.chunks)
            self._metrics.shots.labels("done").inc()
        elif job.chunk is None:
            job.desk.put_away(job.shot)

    def _film(
        self, desk: StoryDesk, shot: str, frames: np.ndarray, facts: dict[str, Any], began: float
    ) -> None:
        """A chunk's file, and after the first one the poster, which nobody waits for.

        began: when the device began the shot, in seconds of time.perf_counter.
        """
        made = time.perf_counter()
        video = desk.folder.head.video
        scale = enlargement("auto", video.height, video.width)
        film = chunk_file(frames, video.fps, scale)
        encoding = time.perf_counter() - made
        self._metrics.encoding.observe(encoding)
        self._metrics.frames.inc(len(frames))
        told = {**facts, "frames": len(frames)}
        is_first = facts["chunk"] == 0
        if is_first:
            waited = time.time() - desk.board.shots[shot].asked_at
            told["waited"] = round(waited, 4)
            self._metrics.observe_first_frames(waited, made - began, encoding)
        desk.add_chunk(shot, facts["chunk"], film, told)
        if is_first:
            desk.add_poster(shot, webp_bytes(enlarged(frames[:1], scale)[0]))
