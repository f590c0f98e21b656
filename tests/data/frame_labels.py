"""The shot of every frame of a cut clip, as the reference records it."""

import numpy as np


def labels(shots, frames: int) -> np.ndarray:
    """The shot of every frame [frames]; −1 for a frame in no shot."""
    numbers = np.full(frames, -1, np.int64)
    for k, (first, stop) in enumerate(shots):
        numbers[first:stop] = k
    return numbers
