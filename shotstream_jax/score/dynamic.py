"""Dynamic degree: the share of shots that move, by VBench's rule on any optical flow.

Of a shot about 8 frames a second are taken; m_i is the mean of the longest 5 % of the flow's
vectors from one to the next. The shot moves if, n the number of frames taken and s the shorter
side,

    |{i : m_i > 6·s / 256}| ≥ round(4·n / 16)                                              (1)

VBench's flow is RAFT's. Here it is a parameter: RAFT with the user's weights (raft), or OpenCV's
dense inverse search, which needs no weights. Their figures are not the same, and have two names.
"""

from collections.abc import Callable

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, typechecked
from shotstream_jax.score.figures import FilmFigures
from shotstream_jax.score.films import ShotList

# Two frames → the vectors from the first to the second, in pixels.
Flow = Callable[[UInt8[np.ndarray, "y x 3"], UInt8[np.ndarray, "y x 3"]], np.ndarray]

_RATE = 8.0  # frames a second that are taken
_LONGEST = 0.05
_LEAST = 6.0 / 256  # of the shorter side
_SHARE = 4 / 16


class DynamicDegree:
    """Eq. (1) of each shot, in per cent; as a FrameMetric. name: of the figure."""

    def __init__(self, name: str, flow: Flow, fps: float) -> None:
        self._name = name
        self._flow = flow
        self._step = max(1, round(fps / _RATE))
        self._taken: np.ndarray | None = None
        self._number = 0

    def encode(self, pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Of each frame m_i / s to the frame taken before; NaN for those that are not taken."""
        kept = np.full(len(pictures), np.nan)
        for place, picture in enumerate(pictures):
            if self._number % self._step == 0:
                if self._taken is not None:
                    flow = self._flow(self._taken, picture)
                    kept[place] = longest_vectors(flow) / min(picture.shape[:2])
                self._taken = picture
            self._number += 1
        return kept

    def judge(self, kept: np.ndarray, found: ShotList) -> FilmFigures:
        """100 for a shot that moves, 0 for one that does not; NaN for one of a single frame."""
        moving = []
        for first, stop in found:
            # A pair belongs to a shot if both of its frames do.
            inside = kept[first + self._step : stop]
            moves = inside[np.isfinite(inside)]
            taken = len(moves) + 1
            is_moving = (moves > _LEAST).sum() >= round(_SHARE * taken)
            moving.append(100.0 * is_moving if len(moves) else np.nan)
        return {self._name: np.array(moving)}


@typechecked
def longest_vectors(flow: Float[np.ndarray, "y x 2"]) -> float:
    """The mean length of the longest 5 % of the vectors."""
    lengths = np.sort(np.linalg.norm(flow, axis=-1).ravel())
    count = max(1, int(len(lengths) * _LONGEST))
    return float(lengths[-count:].mean())


def dis_flow(
    before: UInt8[np.ndarray, "y x 3"], after: UInt8[np.ndarray, "y x 3"]
) -> Float[np.ndarray, "y x 2"]:
    """OpenCV's dense inverse search (Kroeger et al., 2016), its medium preset."""
    import cv2

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey_before = cv2.cvtColor(before, cv2.COLOR_RGB2GRAY)
    grey_after = cv2.cvtColor(after, cv2.COLOR_RGB2GRAY)
    no_guess = np.zeros((*grey_before.shape, 2), np.float32)
    return np.asarray(search.calc(grey_before, grey_after, no_guess), np.float32)
