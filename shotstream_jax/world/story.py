"""A story of the drawn world: its plot, its looks and its captions, all from a seed.

Looks and layouts stay the same in all shots and no caption describes them, so a model can know them
only from a memory of earlier shots.

Story i of a split is sampled from SeedSequence(seed, (split, i)): two splits share no random
stream, and no story depends on another one. The plot, the looks and the wording have a stream each.
The wording is sampled from the plot alone, so no caption can reveal a look.
"""

import dataclasses

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.rng import check_seed
from shotstream_jax.text.prompts import Script
from shotstream_jax.world.captions import write_captions
from shotstream_jax.world.clothing import ACCENTS
from shotstream_jax.world.figure import Look
from shotstream_jax.world.places import SIDES, VARIANTS, Layout
from shotstream_jax.world.plot import (
    SUBSETS,
    PlotShot,
    Subset,
    WorldConfig,
    choose_one,
    choose_several,
    sample_plot,
)

SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class WorldStory:
    """A story without pictures.

    looks, layouts: of each character and each place that occur, by name. They are the same in all
    shots, and no caption describes them.
    """

    config: WorldConfig
    shots: tuple[PlotShot, ...]
    looks: dict[str, Look]
    layouts: dict[str, Layout]
    script: Script

    @property
    def intervals(self) -> tuple[tuple[int, int], ...]:
        """First frame (included) and last frame (not included) of each shot."""
        intervals = []
        # Each shot begins where the one before it ends.
        first = 0
        for shot in self.shots:
            stop = first + shot.frames
            intervals.append((first, stop))
            first = stop
        return tuple(intervals)


def make_story(config: WorldConfig, seed: int, split: str, index: int) -> WorldStory:
    """Story number `index` of a split.

    Raises InputError for an unknown split, a negative index, or what is no seed (core/rng).
    """
    if split not in SPLITS:
        raise InputError(f"no split is called {split!r}; there are {' and '.join(SPLITS)}")
    check_seed(seed, least=0)
    if index < 0:
        raise InputError(f"story {index} must not be negative")
    subset = SUBSETS[config.subset]

    # A random stream each for the plot, the looks, and the wording.
    sequence = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index))
    plot_rng, looks_rng, words_rng = map(np.random.default_rng, sequence.spawn(3))

    shots = sample_plot(plot_rng, config)
    looks = _sample_looks(looks_rng, subset, shots)
    layouts = _sample_layouts(looks_rng, subset, shots)
    # A world with one camera only does not describe it.
    with_camera = len(subset.distances) > 1
    script = write_captions(words_rng, shots, with_camera)
    return WorldStory(config, shots, looks, layouts, script)


def _sample_looks(
    rng: np.random.Generator,
    subset: Subset,
    shots: tuple[PlotShot, ...],
) -> dict[str, Look]:
    """A look for each character, in order of first occurrence; no two have the same accent."""
    # A dictionary keeps the order and drops the repetitions.
    names = dict.fromkeys(role.name for shot in shots for role in shot.roles)
    accents = choose_several(rng, tuple(ACCENTS), len(names))
    looks = {}
    for name, accent in zip(names, accents, strict=True):
        pattern = choose_one(rng, subset.patterns)
        looks[name] = Look(accent, pattern)
    return looks


def _sample_layouts(
    rng: np.random.Generator,
    subset: Subset,
    shots: tuple[PlotShot, ...],
) -> dict[str, Layout]:
    """A layout for each place, in the order of their first occurrence."""
    # As with the looks, in the order of the shots.
    layouts = {}
    for place in dict.fromkeys(shot.place for shot in shots):
        side = choose_one(rng, SIDES)
        variant = choose_one(rng, range(VARIANTS))
        items = choose_one(rng, subset.items)
        layouts[place] = Layout(side, variant, items)
    return layouts
