"""Films of known shots, and their scripts."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np

from shotstream_jax.media.video import VideoWriter
from tests.prepare.material import FPS, Scene, draw

# Shots of three places: 24, 32 and 28 frames.
PLACES = (Scene(24, 1), Scene(32, 2), Scene(28, 3))


def write_film(path: pathlib.Path, shots: Sequence[np.ndarray]) -> pathlib.Path:
    """Writes shots one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, FPS) as video:
        video.write(np.concatenate(shots))
    return path


def write_story(path: pathlib.Path, shots: int) -> None:
    """A story file with so many shots."""
    path.parent.mkdir(parents=True, exist_ok=True)
    captions = {f"shot{k}": f"Patches {k}." for k in range(1, shots + 1)}
    path.write_text(json.dumps({"global_caption": "Patches.", **captions}))


def write_report(path: pathlib.Path, lengths: Sequence[int]) -> None:
    """The part of generate's report that says how long the shots are."""
    chunks = [{"shot": k, "chunk": 0, "frames": n} for k, n in enumerate(lengths)]
    path.write_text(json.dumps({"chunks": chunks}))


def place_shots() -> list[np.ndarray]:
    """PLACES as pictures."""
    return [draw(scene) for scene in PLACES]
