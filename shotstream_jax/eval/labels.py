"""What can be read in a shot of the drawn world: the probe's questions, and the true answers.

Answers are numbers:

a character  present and box of each frame · accent and pattern · action of the shot
the place    place · side and variant of the landmark · items
the camera   distance · move
"""

import dataclasses
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Int, typechecked
from shotstream_jax.world.clothing import ACCENTS
from shotstream_jax.world.places import SIDES, VARIANTS
from shotstream_jax.world.plot import SUBSETS
from shotstream_jax.world.story import WorldStory

# The answer about a character that is not in the shot.
ABSENT = -1


@dataclasses.dataclass(frozen=True)
class Labels:
    """The questions about a subset's shots and the choices of each; an answer is a choice's number.

    Raises InputError if the world has no such subset.
    """

    subset: str

    def __post_init__(self) -> None:
        if self.subset not in SUBSETS:
            raise InputError(
                f"no subset of the world is called {self.subset!r}; there are {', '.join(SUBSETS)}"
            )

    @property
    def characters(self) -> tuple[str, ...]:
        """The characters' names; a character's number is its place in this tuple."""
        return SUBSETS[self.subset].characters

    @property
    def character_choices(self) -> dict[str, tuple]:
        """Question → choices, of each character; a single frame suffices to answer."""
        return {"accent": tuple(ACCENTS), "pattern": SUBSETS[self.subset].patterns}

    @property
    def actions(self) -> tuple[str, ...]:
        """The choices of each character's action, which takes several frames to see."""
        return SUBSETS[self.subset].actions

    @property
    def place_choices(self) -> dict[str, tuple]:
        """Question → choices, of the place; a single frame suffices to answer."""
        subset = SUBSETS[self.subset]
        return {
            "place": subset.places,
            "side": SIDES,
            "variant": tuple(range(VARIANTS)),
            "items": subset.items,
        }

    @property
    def camera_choices(self) -> dict[str, tuple]:
        """Question → choices, of the camera in the whole shot."""
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
    """The true answers about shot `number` of a story, n characters.

    boxes: those of the shot's roles in pixels (left, top, right, bottom), as render_shot returns
    them.

    present                               [p, n]
    box                                   [p, n, 4], left, top, right, bottom as shares of the
                                          picture; zeros if not present
    accent, pattern, action               [n], ABSENT if not in the shot
    place, side, variant, items           []
    distance, move                        []
    """
    shot = story.shots[number]
    picture_size = np.array([width, height, width, height], np.float32)
    # Nobody is there until a role says so.
    asked = {"action": labels.actions} | labels.character_choices
    truth: dict[str, np.ndarray] = {}
    for name in asked:
        truth[name] = np.full(len(labels.characters), ABSENT, np.int32)
    box = np.zeros((len(boxes), len(labels.characters), 4), np.float32)

    # Characters: those that are in the shot.
    for slot, role in enumerate(shot.roles):
        character = labels.characters.index(role.name)
        answers: dict[str, Any] = {"action": role.action}
        answers |= dataclasses.asdict(story.looks[role.name])
        # `asked` picks among what is known of the character.
        for name, choices in asked.items():
            truth[name][character] = choices.index(answers[name])
        box[:, character] = boxes[:, slot] / picture_size

    # Place and camera: one answer each.
    answers = {"place": shot.place}
    answers |= dataclasses.asdict(story.layouts[shot.place])
    answers |= dataclasses.asdict(shot.camera)
    for name, choices in (labels.place_choices | labels.camera_choices).items():
        truth[name] = np.asarray(choices.index(answers[name]), np.int32)

    truth["box"] = box
    truth["present"] = np.asarray(box.any(axis=-1))
    return truth
