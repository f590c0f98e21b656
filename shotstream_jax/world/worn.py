"""A film with hats and scarves of other colours, and where in the picture they are to be seen."""

import dataclasses

import numpy as np

from shotstream_jax.core.typing import Bool, typechecked
from shotstream_jax.world.render import Film, render_story
from shotstream_jax.world.wear import ACCENTS

SEEN = 32  # by how much a pixel differs, of 255, in another colour


@typechecked
def recoloured(film: Film) -> Film:
    """The same story, its looks but for the accents, which are others for everyone."""
    accents, (_, height, width, _) = list(ACCENTS), film.frames.shape
    looks = {
        name: dataclasses.replace(look, accent=accents[accents.index(look.accent) - 1])
        for name, look in film.story.looks.items()
    }
    return render_story(dataclasses.replace(film.story, looks=looks), height, width)


@typechecked
def worn(film: Film, other: Film) -> Bool[np.ndarray, "p y x"]:
    """Where hats and scarves are to be seen: a film against itself, recoloured."""
    return np.abs(film.frames.astype(int) - other.frames).max(axis=-1) > SEEN
