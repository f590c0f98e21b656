"""Single shots of the drawn world as rows to train on, drawn when they are asked for."""

import dataclasses
import functools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import flax

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.rng import check_seed
from shotstream_jax.core.typing import Array, Int, Leaf, UInt8
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS


@dataclasses.dataclass(frozen=True)
class WorldData:
    """The data of a recipe that trains on the drawn world.

    Raises InputError for values that are not possible.

    subset, seed: of the world.
    frames: latent frames of a shot.
    stories: number of stories to train on. held_out: number of stories of the other split.
    workers: drawing threads. processes: in which the threads let draw, since Python runs one of its
      threads at a time; 0: they draw themselves.
    """

    subset: str
    frames: int
    stories: int
    held_out: int
    workers: int
    seed: int = 0
    processes: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed, "data.seed", least=0)
        values_and_minima = {
            "frames": (self.frames, 1),
            "stories": (self.stories, 1),
            "held_out": (self.held_out, 1),
            "workers": (self.workers, 0),
            "processes": (self.processes, 0),
        }
        # All wrong values at once, by their names in a recipe.
        wrong = []
        for name, (value, minimum) in values_and_minima.items():
            if value < minimum:
                wrong.append(f"data.{name} {value}")
        if wrong:
            raise InputError(f"{', '.join(wrong)}: at least 1 is required (workers, processes: 0)")


@flax.struct.dataclass
class DrawnShot:
    """A shot's pictures and the boxes of its characters, as in render.Film; or a batch of shots."""

    pixels: UInt8[Array, "*b p y x 3"]
    boxes: Int[Array, "*b p roles 4"]


class World(NamedTuple):
    """Shots to train on, and shots that are never trained on."""

    train: "WorldShots"
    held_out: "WorldShots"


def open_world(cfg: WorldData, height: int, width: int, fps: int, frames: int) -> World:
    """The shots that a recipe names, all of `frames` pixel frames.

    Raises InputError for a world that is not possible.
    """
    config = WorldConfig(cfg.subset, fps, lengths=(frames,))
    # The held-out shots are of the other split, with which the first shares no story.
    train_split, test_split = SPLITS
    train = WorldSource(config, height, width, cfg.stories, cfg.seed, train_split)
    held_out = WorldSource(config, height, width, cfg.held_out, cfg.seed, test_split)
    return World(WorldShots(train, cfg.processes), WorldShots(held_out))


@dataclasses.dataclass(frozen=True)
class WorldShots:
    """One shot of each story, the first, second, … in turn.

    Each is drawn when it is asked for; processes: where, 0: here.
    """

    source: WorldSource
    processes: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> DrawnShot:
        if not self.processes:
            return draw_shot(self.source, index)
        return self._pool.submit(draw_shot, self.source, index).result()

    @functools.cached_property
    def _pool(self) -> ProcessPoolExecutor:
        # New processes: a copy of this one would hold its devices.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.processes, mp_context=context)


def draw_shot(source: WorldSource, index: int) -> DrawnShot:
    """One shot of a story, and nothing else of it."""
    story = source.story(index)
    number = index % len(story.shots)
    pixels: Leaf
    boxes: Leaf
    pixels, boxes = render_shot(story, number, source.height, source.width)
    return DrawnShot(pixels, boxes)
