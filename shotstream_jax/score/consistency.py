"""Consistency within shots and between them, on features of any encoder.

VBench's, of a shot with unit features f_1 … f_n:

    mean over t ≥ 2 of (max(0, f_{t−1}·f_t) + max(0, f_1·f_t)) / 2                         (1)

Between shots, each with a unit feature g_k: the cosines of all pairs,

    g_j·g_k,  j < k                                                                        (2)
"""

from collections.abc import Callable

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, typechecked
from shotstream_jax.score.figures import FilmFigures
from shotstream_jax.score.films import ShotList

# Pictures [n, y, x, 3] uint8 → their unit features [n, d].
PictureEncoder = Callable[[np.ndarray], np.ndarray]


class FrameConsistency:
    """Eq. (1) of each shot; as a FrameMetric. name: of the figure."""

    def __init__(self, name: str, encoder: PictureEncoder) -> None:
        self._name = name
        self._encoder = encoder

    def encode(self, pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Unit features, [n, d]."""
        return self._encoder(pictures)

    def judge(self, kept: np.ndarray, found: ShotList) -> FilmFigures:
        """Eq. (1); NaN for a shot of a single frame."""
        values = [within_shot(kept[first:stop]) for first, stop in found]
        return {self._name: np.array(values)}


@typechecked
def within_shot(features: Float[np.ndarray, "frames d"]) -> float:
    """Eq. (1)."""
    if len(features) < 2:
        return np.nan
    to_previous = (features[1:] * features[:-1]).sum(axis=-1)
    to_first = features[1:] @ features[0]
    return float((np.maximum(to_previous, 0) + np.maximum(to_first, 0)).mean() / 2)


@typechecked
def between_shots(features: Float[np.ndarray, "shots d"]) -> Float[np.ndarray, "pairs"]:
    """Eq. (2) of all pairs whose features are not NaN; empty with fewer than two."""
    known = features[np.isfinite(features).all(axis=-1)]
    cosines = known @ known.T
    rows, columns = np.triu_indices(len(known), 1)
    return cosines[rows, columns].astype(np.float64)


@typechecked
def unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Features of length 1."""
    return features / np.linalg.norm(features, axis=-1, keepdims=True)
