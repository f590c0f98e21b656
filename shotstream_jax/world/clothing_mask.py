"""Where in a film hats and scarves are visible.

These are the pixels that differ when the same film is drawn with clothing of other colours.
"""

import dataclasses

import numpy as np

from shotstream_jax.core.typing import Bool, typechecked
from shotstream_jax.world.clothing import ACCENTS
from shotstream_jax.world.render import Film, render_story

THRESHOLD = 32  # least difference, of 255, in a pixel of another colour


def visible_clothing(film: Film) -> Bool[np.ndarray, "p y x"]:
    """True where hats and scarves are visible. The film is drawn a second time for it."""
    return clothing_mask(film, recolour_clothing(film))


@typechecked
def recolour_clothing(film: Film) -> Film:
    """The same film with another accent for every character; nothing else differs."""
    accents = list(ACCENTS)
    looks = {}
    for name, look in film.story.looks.items():
        # The one before it, so no two characters get the same.
        previous = accents.index(look.accent) - 1
        looks[name] = dataclasses.replace(look, accent=accents[previous])
    story = dataclasses.replace(film.story, looks=looks)
    height, width = film.frames.shape[1:3]
    return render_story(story, height, width)


@typechecked
def clothing_mask(film: Film, recoloured: Film) -> Bool[np.ndarray, "p y x"]:
    """True where hats and scarves are visible. recoloured: the film from `recolour_clothing`."""
    # As signed numbers, for a difference of bytes could wrap round.
    difference = np.abs(film.frames.astype(int) - recoloured.frames)  # [p, y, x, 3]
    return difference.max(axis=-1) > THRESHOLD
