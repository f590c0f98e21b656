"""The stream from prompts to frames, as a viewer would have it."""

import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

from shotstream_jax.bench.parts import Subject
from shotstream_jax.generate.stream import new_story, stream_generate, stream_stories

CAPTION = "A frog is dancing on the beach."  # words that every preset knows
MANY = 10**5


class StreamTiming(NamedTuple):
    """Seconds from a shot's prompt to its first frames: of the first shot, whose programs are compiled or fetched, and
    the median of later ones. Frames/s of all stories together once all is warm, over so many seconds."""

    first_cold: float
    first_warm: float
    rate: float
    seconds: float


def stream_timing(subject: Subject, seconds: float) -> StreamTiming:
    cold, *warm = _first_frames(subject, shots=4)
    rate, spent = _rate(subject, seconds)
    return StreamTiming(cold, statistics.median(warm), rate, spent)


def _first_frames(subject: Subject, shots: int) -> Iterator[float]:
    """One story whose prompts come one at a time."""
    began = 0.0

    def typed() -> Iterator[str]:
        nonlocal began
        for _ in range(shots):
            began = time.perf_counter()
            yield CAPTION

    for chunk in stream_generate(subject.model, typed(), video=subject.video):
        if chunk.chunk == 0:
            yield time.perf_counter() - began


def _rate(subject: Subject, seconds: float) -> tuple[float, float]:
    """Stories side by side whose prompts are all there; the first shot of each is not counted."""
    captions = [CAPTION] * MANY
    stories = [
        (new_story(subject.model, seed=i, video=subject.video), captions)
        for i in range(subject.batch)
    ]
    began, frames, warm = 0.0, 0, 0
    for _, chunk in stream_stories(subject.model, stories):
        if warm < subject.batch:
            warm += chunk.shot == 0 and chunk.story is not None
            began = time.perf_counter()
            continue
        frames += len(chunk.frames)
        if time.perf_counter() - began >= seconds and chunk.shot > 1:
            break
    spent = time.perf_counter() - began
    return frames / spent, spent
