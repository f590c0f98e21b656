"""What happens in a story, sampled at random: in each shot who, where, what, and the camera.

One or two characters and one or two places return throughout a story. The looks, which no caption
describes, are not sampled here but in world/story.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.world.actions import ACTIONS
from shotstream_jax.world.camera import MOVES, Camera
from shotstream_jax.world.characters import CHARACTERS
from shotstream_jax.world.clothing import PATTERNS
from shotstream_jax.world.places import MAX_ITEMS, PLACES

T = TypeVar("T")

_TWO_CHARACTERS = 0.7  # share of the stories with two characters
_TWO_PLACES = 0.6  # share of the stories with two places
_WALKING_SPEED = 0.7  # world units per second


@dataclasses.dataclass(frozen=True)
class Role:
    """A character's role in a shot.

    position: u where it stands, or for a walk the middle of its way.
    direction: −1 faces left, 1 right; a walk goes there.
    walk_length: world units that it covers in the shot, 0 unless it walks.
    phase: shifts its action by that share of the action's period, 0 to 1.
    """

    name: str
    action: str
    position: float
    direction: int
    walk_length: float
    phase: float


@dataclasses.dataclass(frozen=True)
class PlotShot:
    """roles: one or two, from left to right. frames: number of pixel frames."""

    place: str
    roles: tuple[Role, ...]
    camera: Camera
    frames: int


@dataclasses.dataclass(frozen=True)
class Subset:
    """What stories are sampled from.

    pairs: share of the shots with both characters, in a story of two.
    clothing: how many times as large as usual hats and scarves are.
    """

    characters: tuple[str, ...]
    places: tuple[str, ...]
    actions: tuple[str, ...]
    directions: tuple[int, ...]
    distances: tuple[str, ...]
    moves: tuple[str, ...]
    patterns: tuple[str, ...]
    items: tuple[int, ...]
    pairs: float
    clothing: float = 1.0


_SIMPLE = Subset(
    characters=("bear", "frog", "giraffe", "robot"),
    places=("meadow", "beach", "snow", "moon"),
    actions=("walk", "jump", "dance", "sleep"),
    directions=(1,),
    distances=("near",),
    moves=("still",),
    patterns=("plain",),
    items=(2,),
    pairs=0.2,
)
SUBSETS = {
    "simple": _SIMPLE,
    # For a small model: what it must remember is larger, and the camera closer.
    "large": dataclasses.replace(_SIMPLE, distances=("closest",), pairs=0.35, clothing=1.35),
    "full": Subset(
        characters=tuple(CHARACTERS),
        places=tuple(PLACES),
        actions=tuple(ACTIONS),
        directions=(-1, 1),
        distances=("near", "medium", "far"),
        moves=MOVES,
        patterns=PATTERNS,
        items=tuple(range(1, MAX_ITEMS + 1)),
        pairs=0.35,
    ),
}


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """What a world's stories are like. Raises InputError for values that are not possible.

    subset: "simple", "large" or "full".
    fps: frames per second.
    shots, lengths: the numbers of shots, and of frames per shot, that are sampled from.
    pairs: share of the shots with both characters, in a story of two; None: the subset's own.
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
        _check_at_least(1, "fps", (self.fps,))
        _check_at_least(2, "shots", self.shots)
        _check_at_least(1, "lengths", self.lengths)
        # At 0 a story of two shots could not show both characters and one of them again.
        if self.pairs is not None and not 0 < self.pairs <= 1:
            raise InputError(f"pairs {self.pairs:g} must be a share, above 0 and up to 1")


def _check_at_least(least: int, name: str, values: tuple[int, ...]) -> None:
    if not values or min(values) < least:
        given = ", ".join(map(str, values))
        raise InputError(f"{name} {given} must be whole numbers, {least} or more")


def choose_one(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, all equally likely."""
    index = int(rng.integers(len(choices)))
    return choices[index]


def choose_several(rng: np.random.Generator, choices: Sequence[T], count: int) -> tuple[T, ...]:
    """`count` different ones of the choices, in random order; all of them if there are fewer."""
    order = rng.permutation(len(choices))
    return tuple(choices[int(i)] for i in order[:count])


def sample_plot(rng: np.random.Generator, config: WorldConfig) -> tuple[PlotShot, ...]:
    """The shots of a story.

    Two shots in a row always differ in something that captions describe.
    """
    subset = SUBSETS[config.subset]
    pairs = subset.pairs if config.pairs is None else config.pairs

    # How many shots, and which characters and places return in them.
    shot_count = choose_one(rng, config.shots)
    character_count = 2 if rng.random() < _TWO_CHARACTERS else 1
    characters = choose_several(rng, subset.characters, character_count)
    place_count = 2 if rng.random() < _TWO_PLACES else 1
    places = choose_several(rng, subset.places, place_count)

    # Shot after shot, each with its characters.
    shots: list[PlotShot] = []
    for names in _sample_casting(rng, characters, shot_count, pairs):
        shot = _sample_shot(rng, config, names, places)
        # Sampled again until it differs from the shot before it.
        while shots and _described(shot) == _described(shots[-1]):
            shot = _sample_shot(rng, config, names, places)
        shots.append(shot)
    return tuple(shots)


def _sample_casting(
    rng: np.random.Generator,
    characters: tuple[str, ...],
    shot_count: int,
    pairs: float,
) -> list[tuple[str, ...]]:
    """The names of the characters in each shot: all occur, and the last shot shows one again."""
    while True:
        casting: list[tuple[str, ...]] = []
        for _ in range(shot_count):
            if len(characters) > 1 and rng.random() < pairs:
                casting.append(choose_several(rng, characters, 2))
            else:
                casting.append((choose_one(rng, characters),))

        # Rejected and sampled again unless both conditions hold.
        last = set(casting[-1])
        earlier = set().union(*casting[:-1])
        all_occur = earlier | last == set(characters)
        one_returns = bool(earlier & last)
        if all_occur and one_returns:
            return casting


def _sample_shot(
    rng: np.random.Generator,
    config: WorldConfig,
    names: tuple[str, ...],
    places: tuple[str, ...],
) -> PlotShot:
    """A shot with these characters, from left to right, at one of the places."""
    subset = SUBSETS[config.subset]
    place = choose_one(rng, places)
    frames = choose_one(rng, config.lengths)
    seconds = frames / config.fps

    # One character stands in the middle and may walk further than two, who stand apart.
    positions: tuple[float, ...]
    if len(names) == 1:
        positions = (0.0,)
        longest_walk = 1.8
    else:
        positions = (-0.85, 0.85)
        longest_walk = 0.7

    roles = []
    for name, middle in zip(names, positions, strict=True):
        # The order of the random draws must not change, or a seed gives another story.
        action = choose_one(rng, subset.actions)
        position = middle + rng.uniform(-0.15, 0.15)
        direction = 1 if middle <= 0 else -1  # two look at each other
        walk_length = 0.0
        if action == "walk":
            direction = choose_one(rng, subset.directions)
            walk_length = min(_WALKING_SPEED * seconds, longest_walk)
        phase = rng.random()
        roles.append(Role(name, action, position, direction, walk_length, phase))

    distance = choose_one(rng, subset.distances)
    move = choose_one(rng, subset.moves)
    camera = Camera(distance, move)
    return PlotShot(place, tuple(roles), camera, frames)


def _described(shot: PlotShot) -> tuple:
    """All of a shot that a caption can describe."""
    actions = [(role.name, role.action, role.direction) for role in shot.roles]
    return shot.place, shot.camera, actions
