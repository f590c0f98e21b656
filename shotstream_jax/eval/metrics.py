"""From the probe's readings of a story's shots, and what was told, to figures a shot. NaN: nothing to be judged there.

    adherence       who     1 if the characters that are read are those that were told, all and no others
                    where   1 if the place is the told one
                    action  share of the told characters that are there and do what was told
                    camera  share of distance and move that are as told (where a subset has a choice)
    between shots   look    share of the told characters that are there, and were there before, whose accent and pattern
                            are those of their first appearance, as they were read then
                    layout  1 if the landmark's side and variant and the items are those of the place's first appearance
    within a shot   steady  share of the frames whose answers are those of the shot

What is not there is not judged by `look`, so a model gains nothing by showing nobody: `who` falls.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.typing import Bool, Float, typechecked
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.reading import Reading
from shotstream_jax.world.plot import Shot

Figures = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Memory:
    """What was read at first appearances. looks: of a character; layouts: of a place; both by number."""

    looks: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    layouts: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def after(self, labels: Labels, reading: Reading, shot: Shot) -> "Memory":
        """With what a shot shows for the first time."""
        looks = {n: look_of(labels, reading, n) for n in seen(labels, reading, shot)}
        place = int(reading.shot["place"])
        layouts = {place: layout_of(labels, reading)} if place == told_place(labels, shot) else {}
        return Memory(looks | self.looks, layouts | self.layouts)


def told_people(labels: Labels, shot: Shot) -> dict[int, int]:
    """The told characters and what each does."""
    return {
        labels.characters.index(part.name): labels.actions.index(part.action) for part in shot.roles
    }


def told_place(labels: Labels, shot: Shot) -> int:
    return labels.of_place["place"].index(shot.place)


def seen(labels: Labels, reading: Reading, shot: Shot) -> list[int]:
    """The told characters that are there."""
    return [n for n in told_people(labels, shot) if reading.who[n]]


def look_of(labels: Labels, reading: Reading, n: int) -> tuple[int, ...]:
    return tuple(int(reading.shot[name][n]) for name in labels.of_characters)


def layout_of(labels: Labels, reading: Reading) -> tuple[int, ...]:
    return tuple(int(reading.shot[name]) for name in labels.of_place if name != "place")


@typechecked
def memories(labels: Labels, readings: Sequence[Reading], shots: Sequence[Shot]) -> list[Memory]:
    """What a story has shown before each of its shots, and at its end."""
    known = [Memory()]
    for reading, shot in zip(readings, shots, strict=True):
        known.append(known[-1].after(labels, reading, shot))
    return known


@typechecked
def adherence(labels: Labels, readings: Sequence[Reading], told: Sequence[Shot]) -> Figures:
    """who, where, action, camera of each shot. A told story that is shorter is told again from its start."""
    found: dict[str, list[float]] = {"who": [], "where": [], "action": [], "camera": []}
    cameras = {name: choices for name, choices in labels.of_camera.items() if len(choices) > 1}
    for number, reading in enumerate(readings):
        shot = told[number % len(told)]
        people = told_people(labels, shot)
        found["who"].append(set(np.flatnonzero(reading.who)) == set(people))
        found["where"].append(reading.shot["place"] == told_place(labels, shot))
        found["action"].append(
            np.mean([reading.who[n] and reading.shot["action"][n] == a for n, a in people.items()])
        )
        right = [
            choices[reading.shot[name]] == getattr(shot.camera, name)
            for name, choices in cameras.items()
        ]
        found["camera"].append(np.mean(right) if right else np.nan)
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


@typechecked
def kept(
    labels: Labels, readings: Sequence[Reading], shots: Sequence[Shot], known: Sequence[Memory]
) -> Figures:
    """look and layout of each shot, against what was known before it."""
    look, layout = np.full((2, len(readings)), np.nan)
    for i, (reading, shot, memory) in enumerate(zip(readings, shots, known, strict=True)):
        again = [n for n in seen(labels, reading, shot) if n in memory.looks]
        if again:
            look[i] = np.mean([look_of(labels, reading, n) == memory.looks[n] for n in again])
        place = int(reading.shot["place"])
        if place == told_place(labels, shot) and place in memory.layouts:
            layout[i] = layout_of(labels, reading) == memory.layouts[place]
    return {"look": look, "layout": layout}


@typechecked
def steady(labels: Labels, readings: Sequence[Reading]) -> Float[np.ndarray, "shots"]:
    """Share of each shot's frames in which everything that frames are asked is answered as for the shot."""
    return np.asarray([_steady_frames(labels, reading).mean() for reading in readings])


def _steady_frames(labels: Labels, reading: Reading) -> Bool[np.ndarray, "p"]:
    who = reading.who
    alike = ((reading.present > 0.5) == who).all(axis=-1)
    for name in labels.of_characters:
        alike &= (reading.frames[name] == reading.shot[name])[:, who].all(axis=-1)
    for name in labels.of_place:
        alike &= reading.frames[name] == reading.shot[name]
    return alike


@typechecked
def story_figures(labels: Labels, readings: Sequence[Reading], shots: Sequence[Shot]) -> Figures:
    """All figures of a story, [shots] each."""
    known = memories(labels, readings, shots)[:-1]
    return (
        adherence(labels, readings, shots)
        | kept(labels, readings, shots, known)
        | {"steady": steady(labels, readings)}
    )


@typechecked
def by_company(figures: Figures, shots: Sequence[Shot]) -> Figures:
    """who and look again, of the shots with one character, and of those with two."""
    count = np.array([len(shot.roles) for shot in shots])
    found = {}
    for name in ("who", "look"):
        for number, word in ((1, "one"), (2, "two")):
            found[f"{name}_of_{word}"] = np.where(count == number, figures[name], np.nan)
    return found


@typechecked
def chance(
    labels: Labels, stories: Sequence[tuple[Sequence[Reading], Sequence[Shot]]]
) -> dict[str, float]:
    """What the figures would be if a story's pictures had nothing to do with the story: judged by every other one's.

    Of look and layout: against the first appearances of another story. A model that gives everyone the same hat keeps
    it always, but no more often than by this chance. NaN where no two stories can be compared.
    """
    ends = [memories(labels, readings, shots)[-1] for readings, shots in stories]
    found: dict[str, list[np.ndarray]] = {}
    for i, (readings, shots) in enumerate(stories):
        for j, (_, told) in enumerate(stories):
            if i != j:
                other = kept(labels, readings, shots, [ends[j]] * len(shots))
                for name, values in (adherence(labels, readings, told) | other).items():
                    found.setdefault(name, []).append(values)
    return {name: mean(np.concatenate(values)) for name, values in found.items()}


def mean(values: np.ndarray) -> float:
    """Of all that is not NaN; NaN if there is nothing."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else np.nan


def drift(values: np.ndarray) -> float:
    """[stories, shots] → the last shot's mean less the second one's, the first in which something can be kept."""
    return mean(values[:, -1]) - mean(values[:, 1])


class Interval(NamedTuple):
    """A statistic, where 95 % of the resampled ones lie, and how many values it is of."""

    value: float
    low: float
    high: float
    count: int


@typechecked
def bootstrap(
    values: Float[np.ndarray, "stories shots"],
    statistic: Callable[[np.ndarray], float] = mean,
    draws: int = 1000,
) -> Interval:
    """A statistic of stories. Whole stories are drawn again, for the shots of one are not independent."""
    rng = np.random.default_rng(0)
    drawn = np.array(
        [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(draws)]
    )
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist() if len(drawn) else (np.nan, np.nan)
    return Interval(statistic(values), low, high, int(np.isfinite(values).sum()))
