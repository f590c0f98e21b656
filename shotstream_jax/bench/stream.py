"""The stream from prompts to frames, as a viewer would have it."""

import statistics
import time
from typing import NamedTuple

from shotstream_jax.bench.parts import Subject
from shotstream_jax.generate.stream import stream_generate

CAPTION = "A red fox trots over wet sand; the lighthouse blinks behind it. Shot {}."


class StreamTiming(NamedTuple):
    """Seconds from a shot's prompt to its first frames, when programs are compiled or fetched and later; frames/s of
    whole shots, the first one left out; shots measured."""

    first_cold: float
    first_warm: float
    rate: float
    shots: int


def stream_timing(subject: Subject, seconds: float) -> StreamTiming:
    """One story, for so long after its first shot, at least two shots more."""
    shots = (CAPTION.format(n) for n in range(10**9))
    first, spent, frames = [], [], []
    began = time.perf_counter()
    for chunk in stream_generate(subject.model, shots, video=subject.video):
        now = time.perf_counter()
        if chunk.chunk == 0:
            first.append(now - began)
            frames.append(0)
        frames[-1] += len(chunk.frames)
        if chunk.story:
            spent.append(now - began)
            if len(spent) > 2 and sum(spent[1:]) >= seconds:
                break
            began = time.perf_counter()
    return StreamTiming(first[0], statistics.median(first[1:]), sum(frames[1:]) / sum(spent[1:]), len(spent) - 1)
