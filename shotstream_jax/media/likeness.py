"""How alike two pictures are.

    SSIM = mean of (2·μ_a·μ_b + c₁)(2·σ_ab + c₂) / ((μ_a² + μ_b² + c₁)(σ_a² + σ_b² + c₂))   (1)

The mean is over all windows of 7×7 pixels.
"""

import numpy as np

from shotstream_jax.core.typing import UInt8, typechecked

# The side of a window in (1), in pixels, and its constants for pixels from 0 to 255.
_WINDOW = 7
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


@typechecked
def ssim(a: UInt8[np.ndarray, "y x 3"], b: UInt8[np.ndarray, "y x 3"]) -> float:
    """Eq. (1), the mean of the three colours; of pictures with at least 7 pixels a side.

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
    # Eq. (1): how alike the means are, times how alike the structure is.
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
