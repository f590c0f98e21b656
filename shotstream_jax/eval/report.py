"""Judged stories → figures with intervals, a table, and JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.core.typing import typechecked
from shotstream_jax.eval import metrics
from shotstream_jax.eval.cuts import find_cuts, shot_cut_accuracy
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.pictures import within_and_between
from shotstream_jax.eval.reading import Reader, Reading
from shotstream_jax.eval.sources import Shots
from shotstream_jax.world.story import WorldStory

Summary = dict[str, dict[str, Any]]


class Judged(NamedTuple):
    """A story, what was read in it, and its figures, [shots] each; sca and its like have one value."""

    story: WorldStory
    readings: list[Reading]
    figures: metrics.Figures


@typechecked
def judge(reader: Reader, story: WorldStory, shots: Shots) -> Judged:
    """All figures of a story's pictures."""
    readings = reader.read(shots)
    figures = metrics.story_figures(reader.labels, readings, story.shots)
    figures |= metrics.by_company(figures, story.shots) | within_and_between(list(shots))
    return Judged(story, readings, figures | {"sca": cut_figure(shots)})


def cut_figure(shots: Sequence[np.ndarray]) -> np.ndarray:
    """SCA of a story's shots, one after the other; [1]."""
    frames = np.concatenate(list(shots))
    told = np.cumsum([len(shot) for shot in shots])[:-1].tolist()
    return np.array([shot_cut_accuracy(told, find_cuts(frames), len(frames))])


@typechecked
def summarise(figures: Sequence[metrics.Figures], chances: dict[str, float]) -> Summary:
    """figures: of stories with one number of shots. chances: of those that have one.

    Of each figure: mean, low, high (95 %), count (values that it is of), by_shot, drift (last shot less second, with
    its interval) and chance. Figures of which nothing can be judged are left out.
    """
    summary: Summary = {}
    for name in figures[0]:
        values = np.stack([story[name] for story in figures])
        whole = metrics.bootstrap(values)
        if whole.count:
            summary[name] = {
                "mean": whole.value,
                "low": whole.low,
                "high": whole.high,
                "count": whole.count,
            }
            if name in chances:
                summary[name]["chance"] = chances[name]
            if values.shape[1] > 2:
                change = metrics.bootstrap(values, metrics.drift)
                summary[name]["by_shot"] = [metrics.mean(column) for column in values.T]
                summary[name]["drift"] = {
                    "mean": change.value,
                    "low": change.low,
                    "high": change.high,
                }
    return summary


def chances(labels: Labels, judged: Sequence[Judged]) -> dict[str, float]:
    return metrics.chance(labels, [(j.readings, j.story.shots) for j in judged])


def table(summary: Summary, ceiling: Summary | None = None) -> list[str]:
    """Lines for people."""
    heads = ("figure", "mean", "95 %", "chance", "ceiling", "drift", "95 %")
    rows = [heads]
    for name, found in summary.items():
        drift = found.get("drift", {})
        best = (ceiling or {}).get(name, {})
        values = (
            found["mean"],
            found,
            found.get("chance"),
            best.get("mean"),
            drift.get("mean"),
            drift,
        )
        rows.append((name, *map(_cell, values)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return (
            f"{value['low']:.3f} to {value['high']:.3f}"
            if np.isfinite(value.get("low", np.nan))
            else "–"
        )
    return "–" if value is None or not np.isfinite(value) else f"{value:.3f}"


def as_json(value: Any) -> Any:
    """Plain lists and numbers; what could not be judged is null."""
    if dataclasses.is_dataclass(value):
        return as_json(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
