"""The conditioning rule: what each shot is conditioned on (docs/method.md, section 3).

Pure numpy.

A shot sees C context frames of earlier shots. Every frame, of the context and of the shot itself,
has

    phase     the number of its shot: it sets the rotary phase that tells shots apart
    caption   the text slot that the frame reads; there are C + 1 slots

The slots hold the captions of the shots that can still contribute context (the last C), oldest
first, then the shot's own caption; slots that are left over stay empty.

The first shot has no earlier ones. Its context is C zero latents with phase 0 that read slot 0, and
the shot itself has phase 1.

Streaming (generate/conditions), training on real shots (data/rows) and training on self-made
history (train/stages/dmd_inter) all follow this plan; they differ only in where latents and
captions are kept.

Worked example, C = 4, after two shots of 10 frames: frames 0, 9 of shot 0 and 10, 19 of shot 1 →
phase 0 0 1 1 | 2, caption 0 0 1 1 | 2, slots 0 1 2 − −.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax.memory.select import Interval, select_context

EMPTY = -1  # a text slot without a caption
FIRST_SHOT_PHASE = 1  # as if its zero context were a shot 0


class ShotPlan(NamedTuple):
    """What one shot is conditioned on, as int32 numbers; C is the number of context frames.

    number []: the shot's number in the story, from 0.
    shots [C]: the shot that each context frame is from; zeros for a first shot.
    frames [C]: the number of each context frame in the video; zeros for a first shot.
    phase [C + 1]: of the context frames and, last, of the shot.
    caption [C + 1]: the text slot that each context frame and, last, the shot reads.
    slots [C + 1]: the shot whose caption each text slot holds, or EMPTY.
    """

    number: np.ndarray
    shots: np.ndarray
    frames: np.ndarray
    phase: np.ndarray
    caption: np.ndarray
    slots: np.ndarray


def plan_shot(earlier: Sequence[Interval], budget: int, first_shot: int = 0) -> ShotPlan:
    """The plan of the shot that follows `earlier`.

    Args:
      earlier: the [first, stop) frames of the earlier shots. At least the last `budget` ones; none
        before a first shot.
      budget: the number C of context frames.
      first_shot: the number of the first shot in `earlier`.
    """
    number = first_shot + len(earlier)
    # The shots whose captions are needed: those that can contribute context, and the shot itself.
    oldest = max(number - budget, 0)
    slots = np.full(budget + 1, EMPTY)
    slots[: number - oldest + 1] = np.arange(oldest, number + 1)
    # A first shot has nothing to see, but the network always has C context frames.
    if not earlier:
        shots = frames = np.zeros(budget)
        phase = np.append(np.zeros(budget), FIRST_SHOT_PHASE)
        caption = np.zeros(budget + 1)
    else:
        frames, shots = select_context(earlier, budget, first_shot)
        phase = np.append(shots, number)
        caption = phase - oldest
    numbers = (number, shots, frames, phase, caption, slots)
    return ShotPlan(*[np.asarray(a, np.int32) for a in numbers])
