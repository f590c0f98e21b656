"""What every pixel of a drawn film shows, as classes: who, which accent, which landmark.

Three maps, each with a class for nothing, 0:

    who       1 + index in CHARACTERS, where a figure is visible
    accent    1 + index in ACCENTS, where its hat or scarf is
    landmark  1 + VARIANTS · index in PLACES + number of its colour, where the place's landmark is
"""

import numpy as np

from shotstream_jax.core.typing import Bool, UInt8, typechecked
from shotstream_jax.world.characters import CHARACTERS
from shotstream_jax.world.clothing import ACCENTS
from shotstream_jax.world.places import PLACES, VARIANTS
from shotstream_jax.world.render import Film

MAPS = ("who", "accent", "landmark")
# The number of classes of each map, nothing included.
CLASSES = (1 + len(CHARACTERS), 1 + len(ACCENTS), 1 + VARIANTS * len(PLACES))


@typechecked
def class_maps(film: Film, clothing: Bool[np.ndarray, "p y x"]) -> UInt8[np.ndarray, "p y x 3"]:
    """The three maps of each frame. clothing: where hats and scarves are visible."""
    assert film.figures is not None and film.landmark is not None, "a film that nobody drew"

    # Clothing has the accent of whoever wears it.
    names = list(CHARACTERS)
    accents = list(ACCENTS)
    accent = np.zeros_like(film.figures)
    for name, look in film.story.looks.items():
        worn = clothing & (film.figures == 1 + names.index(name))
        accent[worn] = 1 + accents.index(look.accent)

    # A shot has one place, and so one landmark.
    places = list(PLACES)
    landmark = film.landmark.astype(np.uint8)
    for shot, (first, stop) in zip(film.story.shots, film.story.intervals, strict=True):
        variant = film.story.layouts[shot.place].variant
        landmark[first:stop] *= 1 + VARIANTS * places.index(shot.place) + variant
    return np.stack([film.figures, accent, landmark], axis=-1)
