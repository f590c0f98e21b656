"""Drawn stories as a random-access source for grain: story i is made when it is asked for, from its number alone."""

import dataclasses
import operator

from shotstream_jax.core.errors import InputError
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.render import Film, check_size, render_story
from shotstream_jax.world.story import SPLITS, Story, make_story


@dataclasses.dataclass(frozen=True)
class WorldSource:
    """`stories` stories of a split, height × width pixels: len(source), source[i].

    `grain.MapDataset.source(WorldSource(…)).shuffle().map(…)`: it holds nothing but these numbers, so it travels to
    worker processes. Stories of different splits or seeds have no random stream in common.
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
        check_size(self.height, self.width)
        self.story(0)  # refuses a split or a seed that there cannot be

    def __len__(self) -> int:
        return self.stories

    def __getitem__(self, index: int) -> Film:
        """Frames, shots, captions and truth of a story."""
        return render_story(self.story(index), self.height, self.width)

    def story(self, index: int) -> Story:
        """The same without pictures: what is told of it, and what is not."""
        index = operator.index(index)
        if not 0 <= index < self.stories:
            raise IndexError(f"the world has stories 0 to {self.stories - 1}, not {index}")
        return make_story(self.config, self.seed, self.split, index)
