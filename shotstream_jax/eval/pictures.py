"""Figures that need no model, of any video: colour histograms, structural similarity, motion.

    histogram(a, b) = Σ min(h_a, h_b)                                                      (1)
    motion = mean |x_{t+1} − x_t| / 255                                                    (2)

h: the shares of 4×4×4 colours. Structural similarity is media/likeness'.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, typechecked
from shotstream_jax.media.likeness import ssim

Frame = UInt8[np.ndarray, "y x 3"]

# Steps of each colour in (1).
_BINS = 4


@typechecked
def histogram_overlap(a: Frame, b: Frame) -> float:
    """Eq. (1): 1 for the same colours, 0 for none in common."""
    return float(np.minimum(_colour_shares(a), _colour_shares(b)).sum())


def _colour_shares(frame: np.ndarray) -> np.ndarray:
    """Share of the pixels in each of the _BINS³ bins."""
    # Of each colour by itself, [y, x, 3].
    values_per_bin = 256 // _BINS
    bins = (frame // values_per_bin).astype(np.int64)
    # One number for the three bins of a pixel.
    red, green, blue = np.moveaxis(bins, -1, 0)
    bin_numbers = (red * _BINS + green) * _BINS + blue
    counts = np.bincount(bin_numbers.ravel(), minlength=_BINS**3)
    return counts / bin_numbers.size


@typechecked
def motion(frames: UInt8[np.ndarray, "p y x 3"]) -> float:
    """Eq. (2) of a shot; 0 of a single frame."""
    if len(frames) == 1:
        return 0.0
    # [p − 1, y, x, 3]
    changes = np.abs(np.diff(frames.astype(np.float32), axis=0))
    return float(changes.mean() / 255)


@typechecked
def within_and_between(
    shots: Sequence[UInt8[np.ndarray, "p y x 3"]],
) -> dict[str, Float[np.ndarray, "shots"]]:
    """Similarity of frames within each shot and between neighbouring shots, and motion.

    motion. histogram_within, ssim_within: of a shot's first and last frame. histogram_between,
    ssim_between: of the middle frames of a shot and the one before it; NaN for the first shot.
    """
    figures = {"motion": np.asarray([motion(shot) for shot in shots], np.float64)}
    similarities = {"histogram": histogram_overlap, "ssim": ssim}
    for name, similarity in similarities.items():
        # Within a shot: its first and its last frame.
        within = []
        for shot in shots:
            within.append(similarity(shot[0], shot[-1]))
        # Between shots: their middle frames. The first shot follows none.
        between = [np.nan]
        for before, after in itertools.pairwise(shots):
            between.append(similarity(_middle(before), _middle(after)))
        figures[f"{name}_within"] = np.asarray(within, np.float64)
        figures[f"{name}_between"] = np.asarray(between, np.float64)
    return figures


def _middle(shot: np.ndarray) -> np.ndarray:
    return shot[len(shot) // 2]
