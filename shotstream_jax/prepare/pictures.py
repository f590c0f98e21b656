"""What is measured of pictures: colours, sharpness, lines of text, likeness.

    histogram likeness = Σ min(h_a, h_b)                                        (1)
    sharpness = mean (∇² grey)²                                                 (2)

h: the shares of 8 hues × 4 saturations × 4 values. Where frames that follow each other are
compared, a pixel counts for all tints near its colour, so that small changes count little.
"""

import importlib.util
import itertools

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Float, UInt8, typechecked
from shotstream_jax.media.likeness import ssim

_BINS = (8, 4, 4)
_RANGES = (0, 180, 0, 256, 0, 256)  # of OpenCV's hue, saturation, value
_TINTS = 5  # of each of red, green and blue
# A line of text, in shares of the picture's height, and what fills its box.
_LEAST_LINE = 0.02
_MOST_LINE = 0.14
_LEAST_WIDTH = 2.5  # times its height
_STROKE = 40  # how far a letter stands out, of 255
_LEAST_FILL = 0.25
_MOST_FILL = 0.85


def check_opencv() -> None:
    """Raises InputError if OpenCV is not installed."""
    if importlib.util.find_spec("cv2") is None:
        raise InputError("preparing films needs OpenCV: pip install 'shotstream-jax[films]'")


@typechecked
def colour_shares(picture: UInt8[np.ndarray, "y x 3"]) -> Float[np.ndarray, "bins"]:
    """The shares h of eq. (1)."""
    import cv2

    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, _BINS, _RANGES).ravel()
    return counts / counts.sum()


@typechecked
def mixed_shares(picture: UInt8[np.ndarray, "y x 3"]) -> Float[np.ndarray, "125"]:
    """The shares of 5×5×5 tints of red, green and blue, which sum to 1.

    Each pixel is shared out among the eight tints around its colour (trilinear interpolation).
    """
    most = _TINTS - 1
    place = picture.reshape(-1, 3) / 255 * most
    below = np.minimum(place.astype(np.int64), most - 1)
    nearness = np.stack([below + 1 - place, place - below])  # [2, pixels, 3]: of the lower, upper
    shares = np.zeros(_TINTS**3)
    for corner in itertools.product((0, 1), repeat=3):
        tint = (below + corner) @ (_TINTS**2, _TINTS, 1)
        weight = nearness[corner, :, (0, 1, 2)].prod(axis=0)
        shares += np.bincount(tint, weight, minlength=len(shares))
    return shares / len(place)


@typechecked
def is_same_picture(
    a: UInt8[np.ndarray, "y x 3"], b: UInt8[np.ndarray, "y x 3"], least: float
) -> bool:
    """Whether both eq. (1) and structural similarity reach `least`."""
    overlap = np.minimum(colour_shares(a), colour_shares(b)).sum()
    return bool(overlap >= least) and ssim(a, b) >= least


@typechecked
def sharpness(grey: UInt8[np.ndarray, "y x"]) -> float:
    """Eq. (2)."""
    import cv2

    return float(np.mean(np.square(cv2.Laplacian(grey, cv2.CV_32F))))


@typechecked
def text_share(grey: UInt8[np.ndarray, "y x"]) -> float:
    """The share of a picture that looks like lines of text.

    Thin strokes that stand out of what is behind them are joined along their line; what is flat
    and long then, and neither full nor nearly empty of strokes, counts with its box.
    """
    import cv2

    height, width = grey.shape
    # 1. Strokes: brighter or darker than all that is a letter's height around them.
    reach = max(3, round(height * 0.03))
    box = cv2.getStructuringElement(cv2.MORPH_RECT, (reach, reach))
    bright = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, box)
    dark = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, box)
    strokes = (np.maximum(bright, dark) >= _STROKE).astype(np.uint8)
    # 2. Letters of a line → one piece.
    along = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * reach + 1, 1))
    joined = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, along)
    count, _, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=4)
    # 3. Pieces with the form of a line.
    sums = cv2.integral(strokes)
    area = 0
    for left, top, across, down, _ in boxes[1:count]:
        if not _LEAST_LINE * height <= down <= _MOST_LINE * height:
            continue
        if across < _LEAST_WIDTH * down:
            continue
        right = left + across
        bottom = top + down
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        if _LEAST_FILL <= inside / (across * down) <= _MOST_FILL:
            area += across * down
    return area / (height * width)
