"""Figures of each shot of a story: what was read in it, against its caption and earlier shots.

    adherence
        who         1 if the characters read are exactly those of the caption
        where       1 if the place is the caption's
        action      share of the caption's characters that are visible and do what it says
        camera      share of distance and move that are the caption's (where a subset has a choice)
    between shots
        appearance  share of the caption's characters, visible here and in an earlier shot, whose
                    accent and pattern are those read at their first appearance
        layout      1 if the landmark's side and variant and the items are those read when the place
                    was first shown
    within a shot
        steady      share of the frames whose answers are those of the whole shot

NaN marks what cannot be judged in a shot. A character that is not visible is not judged by
`appearance`, so a model gains nothing by showing nobody: `who` falls.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from shotstream_jax.core.typing import Bool, Float, typechecked
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.reading import Reading
from shotstream_jax.world.plot import PlotShot

# Name of a figure → its values, [shots].
Figures = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class FirstAppearances:
    """What was read where a character or a place was first shown: numbers of the choices.

    appearances: character → accent and pattern. layouts: place → side, variant and items.
    """

    appearances: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    layouts: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def after(
        self,
        labels: Labels,
        reading: Reading,
        shot: PlotShot,
    ) -> "FirstAppearances":
        """The same with what this shot shows for the first time."""
        # Characters that the caption does not name are not remembered: they may be misread.
        appearances = {}
        for character in visible_characters(labels, reading, shot):
            appearances[character] = appearance_of(labels, reading, character)
        layouts = {}
        if shows_the_right_place(labels, reading, shot):
            layouts[int(reading.shot["place"])] = layout_of(labels, reading)
        # On the right of `|`: what is known already is not replaced.
        return FirstAppearances(appearances | self.appearances, layouts | self.layouts)


def expected_actions(labels: Labels, shot: PlotShot) -> dict[int, int]:
    """What the caption's characters do: number of the character → number of the action."""
    actions = {}
    for role in shot.roles:
        character = labels.characters.index(role.name)
        actions[character] = labels.actions.index(role.action)
    return actions


def visible_characters(
    labels: Labels,
    reading: Reading,
    shot: PlotShot,
) -> list[int]:
    """The caption's characters that are read in the shot."""
    visible = []
    for character in expected_actions(labels, shot):
        if reading.who[character]:
            visible.append(character)
    return visible


def shows_the_right_place(
    labels: Labels,
    reading: Reading,
    shot: PlotShot,
) -> bool:
    """Whether the place read is the caption's."""
    expected = labels.place_choices["place"].index(shot.place)
    return int(reading.shot["place"]) == expected


def appearance_of(
    labels: Labels,
    reading: Reading,
    character: int,
) -> tuple[int, ...]:
    """A character's accent and pattern, as read in the whole shot."""
    answers = []
    for name in labels.character_choices:
        of_all_characters = reading.shot[name]
        answers.append(int(of_all_characters[character]))
    return tuple(answers)


def layout_of(labels: Labels, reading: Reading) -> tuple[int, ...]:
    """The landmark's side and variant and the items, as read in the whole shot."""
    answers = []
    for name in labels.place_choices:
        if name != "place":
            answers.append(int(reading.shot[name]))
    return tuple(answers)


@typechecked
def first_appearances(
    labels: Labels,
    readings: Sequence[Reading],
    shots: Sequence[PlotShot],
) -> list[FirstAppearances]:
    """What a story has shown before each of its shots, and at its end [shots + 1]."""
    known = [FirstAppearances()]
    for reading, shot in zip(readings, shots, strict=True):
        known.append(known[-1].after(labels, reading, shot))
    return known


@typechecked
def adherence(
    labels: Labels,
    readings: Sequence[Reading],
    shots: Sequence[PlotShot],
) -> Figures:
    """who, where, action and camera of each shot.

    shots: what the captions ask for. If they are fewer than the readings, they are repeated from
    the first one.
    """
    figures: dict[str, list[float]] = {"who": [], "where": [], "action": [], "camera": []}
    for number, reading in enumerate(readings):
        shot = shots[number % len(shots)]
        # Who and where: all right or wrong.
        expected = expected_actions(labels, shot)
        visible = set(np.flatnonzero(reading.who))
        figures["who"].append(visible == set(expected))
        figures["where"].append(shows_the_right_place(labels, reading, shot))
        # Actions: a share of the caption's characters.
        right_actions = []
        for character, action in expected.items():
            acts = reading.shot["action"][character] == action
            right_actions.append(bool(reading.who[character] and acts))
        figures["action"].append(float(np.mean(right_actions)))
        figures["camera"].append(_camera_share(labels, reading, shot))
    return {name: np.asarray(values, np.float64) for name, values in figures.items()}


def _camera_share(
    labels: Labels,
    reading: Reading,
    shot: PlotShot,
) -> float:
    """Share of the camera's answers that are the caption's; NaN if there is no choice."""
    # Where there is no choice, nothing can be right or wrong.
    right = []
    for name, choices in labels.camera_choices.items():
        if len(choices) > 1:
            expected = getattr(shot.camera, name)
            right.append(choices[reading.shot[name]] == expected)
    if not right:
        return np.nan
    return float(np.mean(right))


@typechecked
def persistence(
    labels: Labels,
    readings: Sequence[Reading],
    shots: Sequence[PlotShot],
    known: Sequence[FirstAppearances],
) -> Figures:
    """appearance and layout of each shot, against what was known before it."""
    appearance = np.full(len(readings), np.nan)
    layout = np.full(len(readings), np.nan)
    for i, (reading, shot, before) in enumerate(zip(readings, shots, known, strict=True)):
        # A character is judged where it is visible again.
        kept = []
        for character in visible_characters(labels, reading, shot):
            if character in before.appearances:
                now = appearance_of(labels, reading, character)
                kept.append(now == before.appearances[character])
        if kept:
            appearance[i] = np.mean(kept)
        # A layout is judged where the caption's place is shown again.
        place = int(reading.shot["place"])
        if shows_the_right_place(labels, reading, shot) and place in before.layouts:
            layout[i] = layout_of(labels, reading) == before.layouts[place]
    return {"appearance": appearance, "layout": layout}


@typechecked
def steadiness(labels: Labels, readings: Sequence[Reading]) -> Float[np.ndarray, "shots"]:
    """Share of each shot's frames in which every question is answered as for the shot."""
    shares = []
    for reading in readings:
        shares.append(_steady_frames(labels, reading).mean())
    return np.asarray(shares)


def _steady_frames(labels: Labels, reading: Reading) -> Bool[np.ndarray, "p"]:
    """Which frames have all answers of the shot."""
    who = reading.who
    # The same characters are visible, …
    steady = ((reading.present > 0.5) == who).all(axis=-1)
    # … each looks as in the whole shot (only those that are in it are compared), …
    for name in labels.character_choices:
        same = reading.frames[name] == reading.shot[name]  # [p, n]
        steady &= same[:, who].all(axis=-1)
    # … and so does the place.
    for name in labels.place_choices:
        steady &= reading.frames[name] == reading.shot[name]
    return steady


@typechecked
def story_figures(
    labels: Labels,
    readings: Sequence[Reading],
    shots: Sequence[PlotShot],
) -> Figures:
    """All figures of a story, [shots] each."""
    known_before = first_appearances(labels, readings, shots)[:-1]
    figures = adherence(labels, readings, shots)
    figures |= persistence(labels, readings, shots, known_before)
    figures["steady"] = steadiness(labels, readings)
    return figures


@typechecked
def by_number_of_characters(figures: Figures, shots: Sequence[PlotShot]) -> Figures:
    """who and appearance of the shots with one character (`who_of_one`, …) and with two."""
    count = np.array([len(shot.roles) for shot in shots])
    # Elsewhere NaN: not judged.
    of_one = count == 1
    of_two = count == 2
    found = {}
    for name in ("who", "appearance"):
        found[f"{name}_of_one"] = np.where(of_one, figures[name], np.nan)
        found[f"{name}_of_two"] = np.where(of_two, figures[name], np.nan)
    return found


@typechecked
def chance_levels(
    labels: Labels, stories: Sequence[tuple[Sequence[Reading], Sequence[PlotShot]]]
) -> dict[str, float]:
    """What the figures would be if pictures had nothing to do with their story.

    Each story's readings are judged by the captions of every other story.
    appearance and layout are judged against the first appearances of another story. A model that
    gives everyone the same hat always keeps it, but no more often than by this chance. NaN where no
    two stories can be compared.
    """
    # What each story has shown in the end.
    known_at_end = []
    for readings, shots in stories:
        known_at_end.append(first_appearances(labels, readings, shots)[-1])
    # Each story's readings, judged by each other story.
    found: dict[str, list[np.ndarray]] = {}
    for i, (readings, shots) in enumerate(stories):
        for j, (_, other_shots) in enumerate(stories):
            if i == j:
                continue
            figures = adherence(labels, readings, other_shots)
            figures |= persistence(
                labels,
                readings,
                shots,
                [known_at_end[j]] * len(shots),
            )
            for name, values in figures.items():
                found.setdefault(name, []).append(values)
    return {name: finite_mean(np.concatenate(values)) for name, values in found.items()}


def finite_mean(values: np.ndarray) -> float:
    """Mean of all that is not NaN; NaN if there is nothing else."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.nan
    return float(finite.mean())


def drift(values: np.ndarray) -> float:
    """The last shot's mean less the second one's, of values [stories, shots].

    The second shot is the first that can keep anything.
    """
    return finite_mean(values[:, -1]) - finite_mean(values[:, 1])


@dataclasses.dataclass(frozen=True)
class ConfidenceInterval:
    """A statistic, the bounds of its 95 % interval, and the number of its values."""

    value: float
    low: float
    high: float
    count: int


@typechecked
def bootstrap(
    values: Float[np.ndarray, "stories shots"],
    statistic: Callable[[np.ndarray], float] = finite_mean,
    draws: int = 1000,
) -> ConfidenceInterval:
    """A statistic with its percentile bootstrap interval. NaN bounds if no draw gives a number.

    Whole stories are drawn with replacement, because the shots of one story are not independent.
    """
    # The statistic of as many stories, drawn with replacement.
    rng = np.random.default_rng(0)
    resampled = []
    for _ in range(draws):
        chosen = rng.integers(len(values), size=len(values))
        resampled.append(statistic(values[chosen]))
    # Its middle 95 %.
    finite = np.array(resampled)
    finite = finite[np.isfinite(finite)]
    low = np.nan
    high = np.nan
    if len(finite):
        low, high = np.quantile(finite, [0.025, 0.975]).tolist()
    # How much was judged.
    count = int(np.isfinite(values).sum())
    return ConfidenceInterval(statistic(values), low, high, count)
