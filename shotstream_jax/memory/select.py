"""Dynamic sampling of context frames from earlier shots (spec page 3). Pure numpy, on the host.

With m shots behind the next one and a budget of C frames, each shot gives C // m frames, the last C mod m shots one
more. A shot that gives n frames gives those at round(linspace(first, last, n)), half to even. If m > C, only the
last C shots contribute, one frame each: the same rule, applied to the last C shots alone.

Worked example, C = 6, shots of 10, 10, 20 and 20 frames: each gives 1, the last two 2; frames 0 | 10 | 20, 39 | 40, 59.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError


class ContextPick(NamedTuple):
    """Chosen frames, in order: their numbers in the video so far, and the shot that each belongs to."""

    frames: np.ndarray
    shots: np.ndarray


def frames_of_shot(shots_behind: int, back: int, budget: int) -> int:
    """How many frames the shot `back` places before the next one gives (back = 1 is the last one)."""
    if back > min(shots_behind, budget):
        return 0
    base, extra = divmod(budget, min(shots_behind, budget))
    return base + (back <= extra)


def spread(first: int, length: int, count: int) -> np.ndarray:
    """`count` frame numbers spread evenly over a shot; frames repeat if the shot has fewer."""
    return np.round(np.linspace(first, first + length - 1, count)).astype(np.int64)


def select_context(
    shot_lengths: Sequence[int], budget: int, first_shot: int = 0, first_frame: int = 0
) -> ContextPick:
    """The context of the shot that follows `shot_lengths` (frames of each earlier shot, at least one shot).

    A stream that keeps only its last C shots passes those, with the number of the first and its first frame.
    """
    if not shot_lengths or min(shot_lengths) < 1 or budget < 1:
        raise InputError(
            f"a context needs a budget and earlier shots of 1 frame or more, got {shot_lengths}, {budget}"
        )
    stops = first_frame + np.cumsum(shot_lengths)
    return select_from(list(zip(stops - shot_lengths, stops, strict=True)), budget, first_shot)


def select_from(shots: Sequence[tuple[int, int]], budget: int, first_shot: int = 0) -> ContextPick:
    """The same for earlier shots given as [first, stop) frames of a video: they may lie apart."""
    counts = [frames_of_shot(len(shots), len(shots) - k, budget) for k in range(len(shots))]
    frames = [
        spread(int(first), int(stop - first), n)
        for (first, stop), n in zip(shots, counts, strict=True)
    ]
    return ContextPick(
        np.concatenate(frames), np.repeat(first_shot + np.arange(len(shots)), counts)
    )


def candidates(shot: int, first_frame: int, length: int, budget: int) -> np.ndarray:
    """The frames of shot number `shot` that any later shot can ask for: all that a stream has to keep of it.

    Worked example, C = 6, 81 frames a shot: 7 of shot 0, 3 of shot 1, 2 of shots 2–4, 1 of each later one.
    """
    counts = {frames_of_shot(shot + back, back, budget) for back in range(1, budget + 1)}
    return np.unique(np.concatenate([spread(first_frame, length, count) for count in counts]))
