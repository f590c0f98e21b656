"""What shots show, by ViCLIP: likeness of shots, and of each shot and its caption.

    semantic = g_j·g_k of all pairs of shots,   text alignment = g_k·t_k                    (1)

g_k: ViCLIP's features of 8 frames of shot k; t_k: of its caption, without the global one. Shots
that a detector has found are compared with each other; captions with the shots that were asked for.
"""

from typing import Protocol

import numpy as np

from shotstream_jax.core.typing import UInt8
from shotstream_jax.score.consistency import between_shots
from shotstream_jax.score.figures import FilmFigures, shot_frames
from shotstream_jax.score.films import OpenFilm, ShotList
from shotstream_jax.score.viclip import FRAMES


class VideoTextEncoder(Protocol):
    """ViCLIP, or what stands for it in tests."""

    def encode_video(self, pictures: UInt8[np.ndarray, "8 y x 3"]) -> np.ndarray:
        """Unit features [d]."""
        ...

    def encode_text(self, text: str) -> np.ndarray:
        """Unit features [d]."""
        ...


class Semantic:
    """Eq. (1); as a ShotMetric."""

    def __init__(self, encoder: VideoTextEncoder) -> None:
        self._encoder = encoder

    def judge_film(self, opened: OpenFilm, found: ShotList, asked: ShotList) -> FilmFigures:
        """Likeness of all pairs of shots; of each shot and its caption, if there are captions."""
        figures = {"inter_semantic": between_shots(self._features(opened, found))}
        script = opened.film.script
        if script is None:
            return figures
        alignment = []
        for features, caption in zip(self._features(opened, asked), script.shots, strict=True):
            alignment.append(float(features @ self._encoder.encode_text(caption)))
        return figures | {"text_alignment": np.array(alignment)}

    def _features(self, opened: OpenFilm, shots: ShotList) -> np.ndarray:
        """[shots, d]."""
        features = []
        for pictures in shot_frames(opened, shots, FRAMES):
            features.append(self._encoder.encode_video(pictures))
        return np.stack(features)
