"""All figures of a film: its cuts, one pass over its frames, and some frames of each shot."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.eval.cuts import shot_cut_accuracy
from shotstream_jax.score.cuts import find_film_cuts
from shotstream_jax.score.dynamic import DynamicDegree, dis_flow
from shotstream_jax.score.figures import FilmFigures, FrameMetric, ShotMetric
from shotstream_jax.score.films import (
    OpenFilm,
    SuiteFilm,
    asked_cuts,
    asked_shots,
    open_film,
    shots_between,
)
from shotstream_jax.score.plain import Likeness, PlainFrames

_AT_ONCE = 16  # frames that are encoded together


class Judges(NamedTuple):
    """What judges films. detector: of cuts. frames: makes the metrics of a film's frames, which may
    keep what they have seen. shots: those of each shot.
    """

    detector: str
    frames: Sequence[Callable[[OpenFilm], FrameMetric]]
    shots: Sequence[ShotMetric]


class ScoredFilm(NamedTuple):
    """A film's figures, and where its cuts are: as found, and as asked for."""

    film: SuiteFilm
    figures: FilmFigures
    found_cuts: list[int]
    asked_cuts: list[int]
    frames: int

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "name": self.film.name,
            "files": [str(path) for path in self.film.parts],
            "frames": self.frames,
            "cuts_found": self.found_cuts,
            "cuts_asked": self.asked_cuts,
            "figures": {name: values.tolist() for name, values in self.figures.items()},
        }


def plain_metrics(detector: str) -> Judges:
    """Those that need no weights."""

    def plain(opened: OpenFilm) -> FrameMetric:
        """Sharpness, motion and repeated frames."""
        return PlainFrames()

    def dynamic(opened: OpenFilm) -> FrameMetric:
        """By a flow that needs no weights."""
        return DynamicDegree("dynamic_degree_dis", dis_flow, opened.fps)

    return Judges(detector, [plain, dynamic], [Likeness()])


def score_film(film: SuiteFilm, judges: Judges) -> ScoredFilm:
    """All figures of a film. Raises InputError if a file of it cannot be read."""
    opened = open_film(film)
    # 1. Cuts, against those that the script asks for.
    found_cuts = find_film_cuts(opened, judges.detector)
    cuts = asked_cuts(opened)
    figures: FilmFigures = {}
    if film.script is not None:
        accuracy = shot_cut_accuracy(cuts, found_cuts, opened.frames)
        figures["sca"] = np.array([accuracy])
        figures["cuts_asked"] = np.array([len(cuts)], np.float64)
    figures["cuts_found"] = np.array([len(found_cuts)], np.float64)
    # 2. All frames, once.
    found = shots_between(found_cuts, opened.frames)
    frame_metrics = [make(opened) for make in judges.frames]
    kept: list[list[np.ndarray]] = [[] for _ in frame_metrics]
    for pictures in opened.batches(_AT_ONCE):
        for place, metric in enumerate(frame_metrics):
            kept[place].append(metric.encode(pictures))
    for metric, of_metric in zip(frame_metrics, kept, strict=True):
        figures |= metric.judge(np.concatenate(of_metric), found)
    # 3. Some frames of each shot.
    asked = asked_shots(opened)
    for shot_metric in judges.shots:
        figures |= shot_metric.judge_film(opened, found, asked)
    return ScoredFilm(film, figures, found_cuts, cuts, opened.frames)
