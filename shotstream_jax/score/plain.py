"""Figures that need no weights: sharpness, repeated frames, motion, likeness of frames.

    motion = mean |x_{t+1} − x_t| / 255                                                    (1)
    repeated = share of t with mean |x_{t+1} − x_t| < 0.5                                  (2)

Colours in common and structural similarity are eval/pictures' and media/likeness', at 72×128.
"""

import itertools

import numpy as np

from shotstream_jax.core.typing import UInt8
from shotstream_jax.eval.pictures import histogram_overlap
from shotstream_jax.media.likeness import ssim
from shotstream_jax.prepare.pictures import sharpness
from shotstream_jax.score.figures import FilmFigures
from shotstream_jax.score.films import OpenFilm, ShotList

_SMALL = (72, 128)  # height and width
_SHARP_HEIGHT = 180
_SAME = 0.5  # of 255; coding alone changes more than nothing


class PlainFrames:
    """Sharpness of each frame, and its change to the one before; as a FrameMetric."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def encode(self, pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Of each frame: sharpness, and mean |x_t − x_{t−1}|, NaN for the film's first one."""
        rows = []
        for picture in pictures:
            change = np.nan
            if self._before is not None:
                change = float(np.abs(picture.astype(np.int16) - self._before).mean())
            self._before = picture.astype(np.int16)
            rows.append((_sharpness(picture), change))
        return np.array(rows)

    def judge(self, kept: np.ndarray, found: ShotList) -> FilmFigures:
        """Means over each shot; a shot's first frame has none before it."""
        sharp, change = kept.T
        figures: dict[str, list[float]] = {"sharpness": [], "motion": [], "repeated": []}
        for first, stop in found:
            inside = change[first + 1 : stop]
            figures["sharpness"].append(float(sharp[first:stop].mean()))
            figures["motion"].append(float(inside.mean() / 255) if len(inside) else 0.0)
            figures["repeated"].append(float((inside < _SAME).mean()) if len(inside) else np.nan)
        return {name: np.array(values) for name, values in figures.items()}


def _sharpness(picture: np.ndarray) -> float:
    """At one height for films of all sizes."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    width = max(1, round(grey.shape[1] * _SHARP_HEIGHT / grey.shape[0]))
    small = cv2.resize(grey, (width, _SHARP_HEIGHT), interpolation=cv2.INTER_AREA)
    return sharpness(np.asarray(small, np.uint8))


class Likeness:
    """Likeness of the frames of a shot, and of neighbouring shots; as a ShotMetric."""

    def judge_film(self, opened: OpenFilm, found: ShotList, asked: ShotList) -> FilmFigures:
        """Within: first and last frame. Between: the middles of a shot and the one before it."""
        ends = []
        middles = []
        for first, stop in asked:
            numbers = sorted({first, (first + stop) // 2, stop - 1})
            small = [_small(picture) for picture in opened.pick(numbers)]
            ends.append((small[0], small[-1]))
            middles.append(small[len(small) // 2])
        figures = {}
        for name, alike in (("histogram", histogram_overlap), ("ssim", ssim)):
            within = [alike(*pair) for pair in ends]
            between = [alike(*pair) for pair in itertools.pairwise(middles)]
            figures[f"{name}_within"] = np.array(within, np.float64)
            figures[f"{name}_between"] = np.array(between, np.float64)
        return figures


def _small(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.resize(picture, _SMALL[::-1], interpolation=cv2.INTER_AREA)
