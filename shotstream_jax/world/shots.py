"""Single shots of the drawn world as rows to train on, drawn when they are asked for."""

import dataclasses
from typing import NamedTuple

import flax

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import AnyArray, Int, UInt8
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.render import render_shot
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.story import SPLITS


@dataclasses.dataclass(frozen=True)
class WorldData:
    """subset, seed: of the world. frames: latent frames of a shot.

    stories, held_out: how many of the split that is trained on, and of the other one. workers: drawing threads.
    """

    subset: str
    frames: int
    stories: int
    held_out: int
    workers: int
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"frames": 1, "stories": 1, "held_out": 1, "workers": 0, "seed": 0}
        if wrong := [
            f"data.{name} {getattr(self, name)}"
            for name, n in least.items()
            if getattr(self, name) < n
        ]:
            raise InputError(f"{', '.join(wrong)}: at least 1, workers and seed 0")


@flax.struct.dataclass
class DrawnShot:
    """A shot's pictures, and the boxes of the characters in them (render.Film); or a batch of shots."""

    pixels: UInt8[AnyArray, "*b p y x 3"]
    boxes: Int[AnyArray, "*b p parts 4"]


class World(NamedTuple):
    """What is trained on, and what never is."""

    train: "WorldShots"
    held_out: "WorldShots"


def open_world(cfg: WorldData, height: int, width: int, fps: int, frames: int) -> World:
    """frames: pixel frames of every shot. Raises InputError for a world that there cannot be."""
    world = WorldConfig(cfg.subset, fps, lengths=(frames,))
    split = lambda name, stories: WorldShots(
        WorldSource(world, height, width, stories, cfg.seed, name)
    )
    train, test = SPLITS
    return World(split(train, cfg.stories), split(test, cfg.held_out))


@dataclasses.dataclass(frozen=True)
class WorldShots:
    """One shot of each story, the first, second, … in turn."""

    source: WorldSource

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> DrawnShot:
        story = self.source.story(index)
        pixels, boxes = render_shot(
            story, index % len(story.shots), self.source.height, self.source.width
        )
        return DrawnShot(pixels, boxes)
