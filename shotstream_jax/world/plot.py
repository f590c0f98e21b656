"""What happens in a story, drawn by lot: in each shot who is where, does what, and how it is seen.

One or two characters and one or two places return throughout a story. Nothing of the untold looks is here.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.world.actions import ACTIONS
from shotstream_jax.world.camera import DISTANCES, MOVES, Camera
from shotstream_jax.world.cast import CHARACTERS
from shotstream_jax.world.places import MOST_ITEMS, PLACES
from shotstream_jax.world.wear import PATTERNS

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Part:
    """A character in a shot. at: where it stands (u). direction: −1 faces left, 1 right; a walker goes there.

    way: units that it covers in the shot. phase: of its action, from 0 to 1.
    """

    name: str
    action: str
    at: float
    direction: int
    way: float
    phase: float


@dataclasses.dataclass(frozen=True)
class Shot:
    """parts: one or two, from left to right. frames: how many."""

    place: str
    parts: tuple[Part, ...]
    camera: Camera
    frames: int


@dataclasses.dataclass(frozen=True)
class Subset:
    """What stories may draw from. pairs: share of the shots with both characters, where a story has two."""

    characters: tuple[str, ...]
    places: tuple[str, ...]
    actions: tuple[str, ...]
    directions: tuple[int, ...]
    distances: tuple[str, ...]
    moves: tuple[str, ...]
    patterns: tuple[str, ...]
    items: tuple[int, ...]
    pairs: float


SUBSETS = {
    "simple": Subset(
        characters=("bear", "frog", "giraffe", "robot"),
        places=("meadow", "beach", "snow", "moon"),
        actions=("walk", "jump", "dance", "sleep"),
        directions=(1,),
        distances=("near",),
        moves=("still",),
        patterns=("plain",),
        items=(2,),
        pairs=0.2,
    ),
    "full": Subset(
        characters=tuple(CHARACTERS),
        places=tuple(PLACES),
        actions=tuple(ACTIONS),
        directions=(-1, 1),
        distances=tuple(DISTANCES),
        moves=MOVES,
        patterns=PATTERNS,
        items=tuple(range(1, MOST_ITEMS + 1)),
        pairs=0.35,
    ),
}


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """subset: "simple" or "full". shots, lengths: what the number of shots, and of frames of each, is drawn from.

    pairs: share of the shots with both characters, where a story has two; None: the subset's.
    """

    subset: str = "full"
    fps: int = 16
    shots: tuple[int, ...] = (2, 3, 4, 5, 6)
    lengths: tuple[int, ...] = (25, 33, 41)
    pairs: float | None = None

    def __post_init__(self) -> None:
        if self.subset not in SUBSETS:
            raise InputError(
                f"no subset of the world is called {self.subset!r}; there are {', '.join(SUBSETS)}"
            )
        for name, values, least in (
            ("fps", (self.fps,), 1),
            ("shots", self.shots, 2),
            ("lengths", self.lengths, 1),
        ):
            if not values or min(values) < least:
                raise InputError(
                    f"{name} {', '.join(map(str, values))} must be whole numbers from {least} on"
                )
        # With none, two cannot both come in two shots and one of them again.
        if self.pairs is not None and not 0 < self.pairs <= 1:
            raise InputError(f"pairs {self.pairs:g} must be a share, above 0 and up to 1")


def one(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def some(rng: np.random.Generator, choices: Sequence[T], count: int) -> tuple[T, ...]:
    """Different ones, in any order."""
    return tuple(choices[int(i)] for i in rng.permutation(len(choices))[:count])


def draw_plot(rng: np.random.Generator, config: WorldConfig) -> tuple[Shot, ...]:
    """The shots of a story. Two shots in a row always differ in what is told of them."""
    subset = SUBSETS[config.subset]
    count = one(rng, config.shots)
    people = some(rng, subset.characters, 2 if rng.random() < 0.7 else 1)
    places = some(rng, subset.places, 2 if rng.random() < 0.6 else 1)
    shots: list[Shot] = []
    for who in _casting(rng, people, count, subset.pairs if config.pairs is None else config.pairs):
        shot = _shot(rng, config, subset, who, one(rng, places))
        while shots and _told(shot) == _told(shots[-1]):
            shot = _shot(rng, config, subset, who, one(rng, places))
        shots.append(shot)
    return tuple(shots)


def _casting(
    rng: np.random.Generator, people: tuple[str, ...], count: int, pairs: float
) -> list[tuple[str, ...]]:
    """Who is in each shot: everyone comes, and the last shot shows someone again."""
    while True:
        cast = [
            some(rng, people, 2)
            if len(people) > 1 and rng.random() < pairs
            else (one(rng, people),)
            for _ in range(count)
        ]
        before = {name for who in cast[:-1] for name in who}
        if before & set(cast[-1]) and before | set(cast[-1]) == set(people):
            return cast


def _shot(
    rng: np.random.Generator, config: WorldConfig, subset: Subset, who: tuple[str, ...], place: str
) -> Shot:
    frames = one(rng, config.lengths)
    spots = (0.0,) if len(who) == 1 else (-0.85, 0.85)
    parts = []
    for name, spot in zip(who, spots, strict=True):
        action, at = one(rng, subset.actions), spot + rng.uniform(-0.15, 0.15)
        faces = 1 if spot <= 0 else -1  # two look at each other
        direction = one(rng, subset.directions) if action == "walk" else faces
        longest = 1.8 if len(who) == 1 else 0.7
        way = min(0.7 * frames / config.fps, longest) if action == "walk" else 0.0
        parts.append(Part(name, action, at, direction, way, rng.random()))
    return Shot(
        place, tuple(parts), Camera(one(rng, subset.distances), one(rng, subset.moves)), frames
    )


def _told(shot: Shot) -> tuple:
    return (
        shot.place,
        shot.camera,
        [(part.name, part.action, part.direction) for part in shot.parts],
    )
