"""Aesthetic quality: LAION's linear predictor on CLIP ViT-L/14, as VBench takes it.

    w·f + b, over 10                                                                       (1)

f: unit features of a picture's middle. The weights are sa_0_4_vit_l_14_linear.pth of
LAION-AI/aesthetic-predictor.
"""

import pathlib

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import UInt8
from shotstream_jax.score.consistency import PictureEncoder
from shotstream_jax.score.figures import FilmFigures
from shotstream_jax.score.films import ShotList
from shotstream_jax.score.torch_io import load_state


class Aesthetic:
    """Eq. (1), the mean of each shot; as a FrameMetric.

    encoder: of CLIP ViT-L/14. path: the predictor's file. Raises InputError for another one.
    """

    def __init__(self, encoder: PictureEncoder, path: pathlib.Path) -> None:
        state = load_state(path)
        if set(state) != {"weight", "bias"}:
            raise InputError(f"{path} is no linear predictor: it must have weight and bias")
        self._weight = state["weight"].float().numpy()  # [1, d]
        self._bias = state["bias"].float().numpy()  # [1]
        self._encoder = encoder

    def encode(self, pictures: UInt8[np.ndarray, "n y x 3"]) -> np.ndarray:
        """Eq. (1) of each picture, [n]."""
        scores = self._encoder(pictures) @ self._weight.T + self._bias[None]
        return scores[:, 0] / 10

    def judge(self, kept: np.ndarray, found: ShotList) -> FilmFigures:
        """The means."""
        return {"aesthetic": np.array([kept[first:stop].mean() for first, stop in found])}
