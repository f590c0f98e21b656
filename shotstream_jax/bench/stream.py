"""The stream from prompts to frames, as a viewer would see it."""

import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

from shotstream_jax.bench.subject import BenchSubject
from shotstream_jax.generate.side_by_side import stream_stories
from shotstream_jax.generate.stream import new_story, stream_generate

CAPTION = "A frog is dancing on the beach."  # words that every preset knows
MANY = 10**5  # shots: more than fit into any time


class StreamTiming(NamedTuple):
    """How fast a stream is.

    first_cold: seconds from the first shot's prompt to its first frames; its programs are compiled,
    or fetched from the cache of compiled programs. first_warm: the median of later shots. rate:
    frames/s of all stories together once everything is compiled. seconds: that it was measured.
    """

    first_cold: float
    first_warm: float
    rate: float
    seconds: float


def stream_timing(subject: BenchSubject, seconds: float) -> StreamTiming:
    """Times one story whose prompts come one at a time, then all stories side by side."""
    cold, *warm = _first_frames(subject, shots=4)
    rate, spent = _rate(subject, seconds)
    return StreamTiming(cold, statistics.median(warm), rate, spent)


def _first_frames(subject: BenchSubject, shots: int) -> Iterator[float]:
    """Seconds from each prompt to its shot's first frames."""
    began = 0.0

    def prompts() -> Iterator[str]:
        """The shots' captions; each one's time is noted when it is handed out."""
        nonlocal began
        for _ in range(shots):
            # The stream asks for a prompt when the shot before it is finished.
            began = time.perf_counter()
            yield CAPTION

    for chunk in stream_generate(subject.model, prompts(), video=subject.video):
        if chunk.chunk == 0:
            yield time.perf_counter() - began


def _rate(subject: BenchSubject, seconds: float) -> tuple[float, float]:
    """Frames/s, and the seconds over which they were counted.

    Stories side by side whose prompts are all there; the first shot of each is not counted.
    """
    # More shots than can be made in the time: no story ends before the others.
    captions = [CAPTION] * MANY
    stories = []
    for seed in range(subject.batch):
        story = new_story(subject.model, seed=seed, video=subject.video)
        stories.append((story, captions))
    began = 0.0
    frames = 0
    warm = 0  # stories whose first shot is finished
    for _, chunk in stream_stories(subject.model, stories):
        if warm < subject.batch:
            # Only a shot's last chunk has the story so far.
            if chunk.shot == 0 and chunk.story is not None:
                warm += 1
            began = time.perf_counter()
            continue
        # From here on everything is compiled for all stories.
        frames += len(chunk.frames)
        if time.perf_counter() - began >= seconds and chunk.shot > 1:
            break
    spent = time.perf_counter() - began
    return frames / spent, spent
