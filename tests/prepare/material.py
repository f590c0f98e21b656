"""Films of known shots for tests: textured pictures that drift, one after the other."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from shotstream_jax import cli
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.prepare.recipe import PrepareRecipe

HEIGHT, WIDTH, FPS = 90, 160, 16


@dataclasses.dataclass(frozen=True)
class Scene:
    """frames: how many. seed: the place, whose colours follow from it. shift: another view of it.

    speed: pixels a frame. light: 1 as it is, 0 black.
    """

    frames: int
    seed: int
    shift: int = 0
    speed: int = 2
    light: float = 1.0


def draw(scene: Scene) -> np.ndarray:
    """Patches of a place's few colours, moving to the left; [frames, y, x, 3] uint8."""
    rng = np.random.default_rng(scene.seed)
    palette = rng.integers(20, 236, (5, 3))
    wide = 4 * WIDTH
    patches = palette[rng.integers(0, 5, (HEIGHT // 10, wide // 10))]
    place = patches.repeat(10, axis=0).repeat(10, axis=1)
    frames = []
    for number in range(scene.frames):
        start = (scene.shift + scene.speed * number) % (wide - WIDTH)
        frames.append(place[:, start : start + WIDTH] * scene.light)
    return np.stack(frames).astype(np.uint8)


def black(frames: int) -> np.ndarray:
    """Black pictures."""
    return np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8)


def faded(frames: np.ndarray, fade_in: int = 0, fade_out: int = 0) -> np.ndarray:
    """The same pictures, out of black over their first frames and into it over their last."""
    light = np.ones(len(frames))
    if fade_in:
        light[:fade_in] = np.arange(fade_in) / fade_in
    if fade_out:
        light[-fade_out:] = np.arange(fade_out)[::-1] / fade_out
    return (frames * light[:, None, None, None]).astype(np.uint8)


def film(path: pathlib.Path, parts: Sequence[np.ndarray]) -> pathlib.Path:
    """Writes pictures as a film."""
    with VideoWriter(path, FPS) as video:
        video.write(np.concatenate(parts))
    return path


def recipe(*overrides: str) -> PrepareRecipe:
    """The tiny recipe with overrides like groups.likeness=0.3."""
    words = [f"--config.{text}" for text in ("cuts.gradual=none", *overrides)]
    return cli.build(PrepareRecipe, cli.load_config("prepare", words), "config")
