"""Figures that need no model, of any video: colour histograms, structural similarity, motion.

    histogram(a, b) = Σ min(h_a, h_b)                                                      (1)
    SSIM = mean of (2·μ_a·μ_b + c₁)(2·σ_ab + c₂) / ((μ_a² + μ_b² + c₁)(σ_a² + σ_b² + c₂))   (2)
    motion = mean |x_{t+1} − x_t| / 255                                                    (3)

h: the shares of 4×4×4 colours. The mean of (2) is over all windows of 7×7 pixels.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, typechecked

Frame = UInt8[np.ndarray, "y x 3"]

# Steps of each colour in (1).
_BINS = 4

# The side of a window in (2), in pixels, and its constants for pixels from 0 to 255.
_WINDOW = 7
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


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
def ssim(a: Frame, b: Frame) -> float:
    """Eq. (2), the mean of the three colours; of pictures with at least 7 pixels a side.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004,
    with uniform windows.
    """
    x = a.astype(np.float64)
    y = b.astype(np.float64)
    # Moments of each window, [y − 6, x − 6, 3] each.
    mean_x = _window_means(x)
    mean_y = _window_means(y)
    variance_x = _window_means(x * x) - mean_x**2
    variance_y = _window_means(y * y) - mean_y**2
    covariance = _window_means(x * y) - mean_x * mean_y
    # Eq. (2): how alike the means are, times how alike the structure is.
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    denominator = (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    similarity = numerator / denominator
    return float(similarity.mean())


def _window_means(x: np.ndarray) -> np.ndarray:
    """Means over all windows of _WINDOW × _WINDOW: [y, x, c] → [y − 6, x − 6, c]."""
    for axis in (0, 1):
        # Entry i is the sum of the first i values, so the sum of a window is a difference of two
        # entries.
        sums = np.cumsum(np.insert(x, 0, 0, axis=axis), axis=axis)
        count = sums.shape[axis]
        up_to_end = np.take(sums, range(_WINDOW, count), axis)
        up_to_start = np.take(sums, range(count - _WINDOW), axis)
        x = (up_to_end - up_to_start) / _WINDOW
    return x


@typechecked
def motion(frames: UInt8[np.ndarray, "p y x 3"]) -> float:
    """Eq. (3) of a shot; 0 of a single frame."""
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
