"""Drawn stories as a random-access source for grain.

Each story is made on demand, from its number alone.
"""

import dataclasses
import operator

from shotstream_jax.core.errors import InputError
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.render import Film, check_picture_size, render_story
from shotstream_jax.world.story import SPLITS, WorldStory, make_story


@dataclasses.dataclass(frozen=True)
class WorldSource:
    """`stories` stories of a split, drawn at height × width pixels: len(source), source[i].

    `grain.MapDataset.source(WorldSource(…)).shuffle().map(…)`: the source holds only these numbers,
    so it can be sent to worker processes. Stories of different splits or seeds have no random
    stream in common. Raises InputError for values that are not possible.
    """

    config: WorldConfig
    height: int
    width: int
    stories: int
    seed: int = 0
    split: str = SPLITS[0]

    def __post_init__(self) -> None:
        if self.stories < 1:
            raise InputError(f"a world of {self.stories} stories is empty: ask for 1 or more")
        check_picture_size(self.height, self.width)
        # make_story checks split and seed.
        self.story(0)

    def __len__(self) -> int:
        return self.stories

    def __getitem__(self, index: int) -> Film:
        """A story with its frames. Raises IndexError outside 0 … stories − 1."""
        return render_story(self.story(index), self.height, self.width)

    def story(self, index: int) -> WorldStory:
        """The same story without frames. Raises IndexError outside 0 … stories − 1."""
        index = operator.index(index)
        if not 0 <= index < self.stories:
            raise IndexError(f"the world has stories 0 to {self.stories - 1}, not {index}")
        return make_story(self.config, self.seed, self.split, index)
