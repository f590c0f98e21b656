"""A story of the drawn world: its plot, the looks that only memory can carry, its captions. All from a seed.

Story i of a split draws from SeedSequence(seed, (split, i)): two splits share no stream, and no story depends on
another one. Plot, untold and words have a stream each; the words are drawn from the plot alone, so that no caption can
tell a look.
"""

import dataclasses

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.text.prompts import Script
from shotstream_jax.world.captions import write_captions
from shotstream_jax.world.figure import Look
from shotstream_jax.world.places import SIDES, VARIANTS, Layout
from shotstream_jax.world.plot import SUBSETS, Shot, WorldConfig, draw_plot, one, some
from shotstream_jax.world.wear import ACCENTS

SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Story:
    """looks, layouts: of the characters and places that occur: the same in all shots, and told by no caption."""

    config: WorldConfig
    shots: tuple[Shot, ...]
    looks: dict[str, Look]
    layouts: dict[str, Layout]
    script: Script

    @property
    def intervals(self) -> tuple[tuple[int, int], ...]:
        """[first, stop) frames of each shot."""
        stops = np.cumsum([shot.frames for shot in self.shots]).tolist()
        return tuple(
            (stop - shot.frames, stop) for shot, stop in zip(self.shots, stops, strict=True)
        )


def make_story(config: WorldConfig, seed: int, split: str, index: int) -> Story:
    """Story number `index` of a split. Raises InputError for a split, seed or number that there cannot be."""
    if split not in SPLITS:
        raise InputError(f"no split is called {split!r}; there are {' and '.join(SPLITS)}")
    if seed < 0 or index < 0:
        raise InputError(f"seed {seed} and story {index} must not be negative")
    streams = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index)).spawn(3)
    plot, untold, words = (np.random.default_rng(stream) for stream in streams)
    shots, subset = draw_plot(plot, config), SUBSETS[config.subset]
    people = dict.fromkeys(part.name for shot in shots for part in shot.parts)
    accents = some(untold, tuple(ACCENTS), len(people))  # no two alike
    looks = {
        name: Look(accent, one(untold, subset.patterns))
        for name, accent in zip(people, accents, strict=True)
    }
    layouts = {
        place: Layout(one(untold, SIDES), one(untold, range(VARIANTS)), one(untold, subset.items))
        for place in dict.fromkeys(shot.place for shot in shots)
    }
    return Story(
        config,
        shots,
        looks,
        layouts,
        write_captions(words, shots, with_camera=len(subset.distances) > 1),
    )
