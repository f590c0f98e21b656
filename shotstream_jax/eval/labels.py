"""What there is to be read in a shot of the drawn world, as numbers: the probe's answers and the truth.

a character  present and box a frame · accent and pattern · action of the shot
the place    place · side and variant of the landmark · items
the camera   distance · move
"""

import dataclasses

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Int, typechecked
from shotstream_jax.world.clothing import ACCENTS
from shotstream_jax.world.places import SIDES, VARIANTS
from shotstream_jax.world.plot import SUBSETS
from shotstream_jax.world.story import WorldStory

ABSENT = -1


@dataclasses.dataclass(frozen=True)
class Labels:
    """The choices of a subset; an answer is a number in one of these."""

    subset: str

    def __post_init__(self) -> None:
        if self.subset not in SUBSETS:
            raise InputError(
                f"no subset of the world is called {self.subset!r}; there are {', '.join(SUBSETS)}"
            )

    @property
    def characters(self) -> tuple[str, ...]:
        return SUBSETS[self.subset].characters

    @property
    def of_characters(self) -> dict[str, tuple]:
        """What is asked about each character, and can be answered from a single frame."""
        return {"accent": tuple(ACCENTS), "pattern": SUBSETS[self.subset].patterns}

    @property
    def actions(self) -> tuple[str, ...]:
        return SUBSETS[self.subset].actions

    @property
    def of_place(self) -> dict[str, tuple]:
        subset = SUBSETS[self.subset]
        return {
            "place": subset.places,
            "side": SIDES,
            "variant": tuple(range(VARIANTS)),
            "items": subset.items,
        }

    @property
    def of_camera(self) -> dict[str, tuple]:
        subset = SUBSETS[self.subset]
        return {"distance": subset.distances, "move": subset.moves}


@typechecked
def shot_truth(
    labels: Labels,
    story: WorldStory,
    number: int,
    boxes: Int[np.ndarray, "p parts 4"],
    height: int,
    width: int,
) -> dict[str, np.ndarray]:
    """A shot's true answers.

    present [p, n] · box [p, n, 4] (left, top, right, bottom as shares of the picture; zeros if not present)
    accent, pattern, action [n], ABSENT if not in the shot · place, side, variant, items, distance, move: numbers
    """
    shot, people = story.shots[number], labels.characters
    asked = {"action": labels.actions} | labels.of_characters
    truth = {name: np.full(len(people), ABSENT, np.int32) for name in asked}
    box = np.zeros((len(boxes), len(people), 4), np.float32)
    for slot, part in enumerate(shot.roles):
        n, look = people.index(part.name), dataclasses.asdict(story.looks[part.name])
        for name, choices in asked.items():
            truth[name][n] = choices.index(({"action": part.action} | look)[name])
        box[:, n] = boxes[:, slot] / np.float32([width, height, width, height])
    told = (
        {"place": shot.place}
        | dataclasses.asdict(story.layouts[shot.place])
        | dataclasses.asdict(shot.camera)
    )
    for name, choices in (labels.of_place | labels.of_camera).items():
        truth[name] = np.int32(choices.index(told[name]))
    return truth | {"box": box, "present": box.any(-1)}
