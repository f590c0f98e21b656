"""Scored stories → figures with intervals, a table, and JSON."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.core.files import write_json
from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.eval import metrics
from shotstream_jax.eval.cuts import find_cuts, shot_cut_accuracy
from shotstream_jax.eval.pictures import within_and_between
from shotstream_jax.eval.reading import Reader, Reading
from shotstream_jax.world.story import WorldStory

# Name of a figure → its mean, interval and so on, as `summarise` gives them.
Summary = dict[str, dict[str, Any]]

# In tables, where there is no value.
NO_VALUE = "–"


class ScoredStory(NamedTuple):
    """A story, what was read in its shots, and its figures, [shots] each (sca: [1])."""

    story: WorldStory
    readings: list[Reading]
    figures: metrics.Figures


@typechecked
def score_story(
    reader: Reader,
    story: WorldStory,
    shots: UInt8[np.ndarray, "shots p y x 3"],
) -> ScoredStory:
    """All figures of a story's pictures."""
    # What needs the probe: adherence, persistence, steadiness.
    readings = reader.read(shots)
    figures = metrics.story_figures(reader.labels, readings, story.shots)
    figures |= metrics.by_number_of_characters(figures, story.shots)
    # What needs no model.
    figures |= within_and_between(list(shots))
    figures["sca"] = cut_accuracy(list(shots))
    return ScoredStory(story, readings, figures)


def cut_accuracy(shots: Sequence[np.ndarray]) -> np.ndarray:
    """SCA of a story's shots [p, y, x, 3], shown one after the other; [1]."""
    # Where the cuts should be, and where they are.
    frames = np.concatenate(shots)
    ends = np.cumsum([len(shot) for shot in shots])
    expected_cuts = ends[:-1].tolist()  # a cut's frame is the first of the next shot
    found_cuts = find_cuts(frames)
    accuracy = shot_cut_accuracy(expected_cuts, found_cuts, len(frames))
    return np.array([accuracy])


@typechecked
def summarise(figures: Sequence[metrics.Figures], chances: dict[str, float]) -> Summary:
    """Figures of many stories with the same number of shots → means and 95 % intervals.

    chances: the level of chance of those figures that have one.

    Of each figure: mean, low, high (95 %), count (values that it is of), by_shot, drift (last shot
    less second, with its interval) and chance. Figures of which nothing can be judged are left out.
    One story alone has no intervals.
    """
    summary: Summary = {}
    for name in figures[0]:
        values = np.stack([story[name] for story in figures])  # [stories, shots]
        overall = metrics.bootstrap(values)
        if not overall.count:
            continue
        # Of all shots together.
        several = len(figures) > 1
        entry: dict[str, Any] = _bounds(overall, several)
        entry["count"] = overall.count
        if name in chances:
            entry["chance"] = chances[name]
        # With two shots there is one value at most, the second's; sca has one value a story.
        if values.shape[1] > 2:
            entry["by_shot"] = list(map(metrics.finite_mean, values.T))
            entry["drift"] = _bounds(metrics.bootstrap(values, metrics.drift), several)
        summary[name] = entry
    return summary


def _bounds(interval: metrics.ConfidenceInterval, several: bool) -> dict[str, float]:
    """A figure with its interval, which only several stories have."""
    if not several:
        return {"mean": interval.value}
    return {"mean": interval.value, "low": interval.low, "high": interval.high}


def summary_table(summary: Summary, ceiling: Summary | None = None) -> list[str]:
    """Lines with aligned columns: a row for each figure, below the head."""
    head = ("figure", "mean", "95 %", "chance", "ceiling", "drift", "95 %")
    rows = [head]
    for name, found in summary.items():
        # Not every figure has a drift or a ceiling: these cells stay empty.
        drift = found.get("drift", {})
        best: dict[str, Any] = {}
        if ceiling:
            best = ceiling.get(name, {})
        row = (
            name,
            _number(found["mean"]),
            _range(found),
            _number(found.get("chance")),
            _number(best.get("mean")),
            _number(drift.get("mean")),
            _range(drift),
        )
        rows.append(row)
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, each column as wide as its longest cell."""
    # Columns first, …
    widths = []
    for column in zip(*rows, strict=True):
        widths.append(max(map(len, column)))
    # … then rows.
    lines = []
    for row in rows:
        cells = []
        for cell, width in zip(row, widths, strict=True):
            cells.append(cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return lines


def _number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return NO_VALUE
    return f"{value:.3f}"


def _range(found: dict[str, float]) -> str:
    if not np.isfinite(found.get("low", np.nan)):
        return NO_VALUE
    return f"{found['low']:.3f} to {found['high']:.3f}"


def write_results(path: pathlib.Path, results: Any) -> None:
    """Writes results as JSON, and the folder if there is none yet. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, as_json(results))


def as_json(value: Any) -> Any:
    """Plain dicts, lists and numbers; what could not be judged (NaN) becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_json(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
