"""Figures that need no model, of any video: colour histograms, structural similarity, motion.

histogram(a, b) = Σ min(h_a, h_b), h the shares of 4×4×4 colours                                             (1)
SSIM = mean of (2·μ_a·μ_b + c₁)(2·σ_ab + c₂) / ((μ_a² + μ_b² + c₁)(σ_a² + σ_b² + c₂)) over windows of 7×7     (2)
motion = mean |x_{t+1} − x_t| / 255                                                                          (3)
"""

import itertools
from collections.abc import Sequence

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, typechecked

_BINS, _WINDOW, _C1, _C2 = 4, 7, (0.01 * 255) ** 2, (0.03 * 255) ** 2
Frame = UInt8[np.ndarray, "y x 3"]


@typechecked
def histogram(a: Frame, b: Frame) -> float:
    """Eq. (1): 1 for the same colours, 0 for none in common."""
    return float(np.minimum(_colours(a), _colours(b)).sum())


def _colours(frame: np.ndarray) -> np.ndarray:
    step = 256 // _BINS
    r, g, b = np.moveaxis(frame // step, -1, 0).astype(np.int64)
    return np.bincount(((r * _BINS + g) * _BINS + b).ravel(), minlength=_BINS**3) / r.size


@typechecked
def ssim(a: Frame, b: Frame) -> float:
    """Eq. (2), the mean of the three colours; of pictures with at least 7 pixels a side."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _windows(x), _windows(y)
    var_x, var_y, both = (
        _windows(x * x) - mean_x**2,
        _windows(y * y) - mean_y**2,
        _windows(x * y) - mean_x * mean_y,
    )
    top = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    return float((top / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))).mean())


def _windows(x: np.ndarray) -> np.ndarray:
    """Means over all windows, from sums of sums."""
    for axis in (0, 1):
        sums = np.cumsum(np.insert(x, 0, 0, axis=axis), axis=axis)
        stop = sums.shape[axis]
        x = (
            np.take(sums, range(_WINDOW, stop), axis) - np.take(sums, range(stop - _WINDOW), axis)
        ) / _WINDOW
    return x


@typechecked
def motion(frames: UInt8[np.ndarray, "p y x 3"]) -> float:
    """Eq. (3) of a shot; 0 of a single frame."""
    return (
        float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean() / 255)
        if len(frames) > 1
        else 0.0
    )


@typechecked
def within_and_between(
    shots: Sequence[UInt8[np.ndarray, "p y x 3"]],
) -> dict[str, Float[np.ndarray, "shots"]]:
    """Of each shot: histogram and SSIM of its first and last frame (within), and of its middle frame and the middle
    frame of the shot before it (between; NaN for the first shot); motion.
    """
    found: dict[str, list[float]] = {"motion": [motion(shot) for shot in shots]}
    middles = [shot[len(shot) // 2] for shot in shots]
    for name, alike in (("histogram", histogram), ("ssim", ssim)):
        found[f"{name}_within"] = [alike(shot[0], shot[-1]) for shot in shots]
        pairs = itertools.pairwise(middles)
        found[f"{name}_between"] = [np.nan, *(alike(before, after) for before, after in pairs)]
    return {name: np.asarray(values, np.float64) for name, values in found.items()}
