"""Dynamic sampling of context frames from earlier shots (docs/method.md, section 3).

Pure numpy, on the host.

With m shots behind the next one and a budget of C frames, each shot gives C // m frames, and the
last C mod m shots give one more. A shot that gives n frames gives those at
round(linspace(first, last, n)), rounded half to even. If m > C only the last C shots contribute,
one
frame each: the same rule, applied to the last C shots alone.

Worked example, C = 6, shots of 10, 10, 20 and 20 frames: each shot gives 1 frame, the last two give
2, so the context is frame 0 | 10 | 20, 39 | 40, 59.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError

Interval = tuple[int, int]  # [first, stop) frames of a video


class ContextPick(NamedTuple):
    """Chosen frames in order, [C] each: their numbers in the video, and their shots."""

    frames: np.ndarray
    shots: np.ndarray


def shot_intervals(lengths: Sequence[int], first_frame: int = 0) -> list[Interval]:
    """The intervals of shots of so many frames that follow each other from `first_frame` on."""
    intervals = []
    for length in lengths:
        intervals.append((first_frame, first_frame + length))
        first_frame += length
    return intervals


def select_context(shots: Sequence[Interval], budget: int, first_shot: int = 0) -> ContextPick:
    """The context frames of the shot that follows `shots`.

    Args:
      shots: the [first, stop) frames of each earlier shot, at least one shot; they may lie apart.
        Only the last `budget` shots matter, so a stream passes those alone.
      budget: the number C of context frames.
      first_shot: the number of the first shot in `shots`.

    Raises:
      InputError: if there is no earlier shot, an empty one, or no budget.
    """
    if not shots or budget < 1:
        raise InputError(f"a context needs earlier shots and a budget, got {shots} and {budget}")
    # Each shot gives its share of the budget, spread evenly over its frames.
    frames = []
    owners = []
    for k, (first, stop) in enumerate(shots):
        if stop <= first:
            raise InputError(
                f"shot {first_shot + k}, [{first}, {stop}], must have at least 1 frame"
            )
        count = frames_of_shot(len(shots), len(shots) - k, budget)
        frames.append(spread(int(first), int(stop - first), count))
        owners.append(np.full(count, first_shot + k))
    return ContextPick(np.concatenate(frames), np.concatenate(owners))


def candidates(shot: int, first_frame: int, length: int, budget: int) -> np.ndarray:
    """The frames of a shot that any later shot can ask for: all that a stream has to keep of it.

    Args:
      shot: the shot's number.
      first_frame: the number of its first frame in the video.
      length: how many frames it has.
      budget: the number C of context frames.

    Worked example, C = 6, 81 frames a shot: 7 frames of shot 0, 3 of shot 1, 2 of shots 2 to 4, and
    1 of each later shot.
    """
    # While the shot is among the last C ones it is asked for one of these numbers of frames.
    counts = {frames_of_shot(shot + back, back, budget) for back in range(1, budget + 1)}
    asked = [spread(first_frame, length, count) for count in counts]
    return np.unique(np.concatenate(asked))


def frames_of_shot(shots_behind: int, back: int, budget: int) -> int:
    """How many frames the shot `back` places before the next one gives (1: the last shot)."""
    contributing = min(shots_behind, budget)
    if back > contributing:
        return 0
    # What does not divide goes to the last shots, one frame each.
    each, remainder = divmod(budget, contributing)
    return each + 1 if back <= remainder else each


def spread(first: int, length: int, count: int) -> np.ndarray:
    """`count` frame numbers spread evenly over a shot; they repeat if the shot has fewer frames."""
    return np.round(np.linspace(first, first + length - 1, count)).astype(np.int64)


def make_room(pick: ContextPick, pinned: int) -> ContextPick:
    """The context frames that are left when so many places are taken by pinned ones.

    The shot that gives most frames (the oldest of several) gives up the one in its middle, again
    and again: what is dropped is what the others are most like.

    Worked example: frames 0, 2, 4 | 10, 20 and 3 pinned: 2 goes, then 4, then 20.
    """
    frames = list(pick.frames)
    shots = list(pick.shots)
    for _ in range(min(pinned, len(frames))):
        counts = Counter(shots)
        most = max(counts.values())
        owner = min(shot for shot, count in counts.items() if count == most)
        middle = shots.index(owner) + most // 2
        del frames[middle]
        del shots[middle]
    return ContextPick(np.array(frames, np.int64), np.array(shots, np.int64))
