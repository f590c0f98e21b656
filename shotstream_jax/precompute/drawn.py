"""Stories of the drawn world as clips to encode: drawn while they are needed, by all processors.

No video is written or read. The stories, masks and labels are those of `shotstream world`.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import UInt8
from shotstream_jax.data.clips import Clip, cut_clip
from shotstream_jax.data.encode import Encoders, PrecomputeRecipe, Readers, encode_from
from shotstream_jax.data.records import ClipRecord
from shotstream_jax.world.class_maps import class_maps
from shotstream_jax.world.clothing_mask import visible_clothing
from shotstream_jax.world.files import weight_mask
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource


class DrawnStory(NamedTuple):
    """A story's frames, how much each pixel matters (world/files), and what it shows."""

    frames: UInt8[np.ndarray, "p y x 3"]
    mask: UInt8[np.ndarray, "p y x 3"]
    labels: UInt8[np.ndarray, "p y x 3"]


def read_world(path: str | pathlib.Path, recipe: PrecomputeRecipe) -> WorldSource:
    """The stories that a settings.json of `shotstream world` names.

    Raises InputError if it is none, or if its pictures have another size than the recipe's.
    """
    try:
        settings = json.loads(pathlib.Path(path).read_text())
        config: dict[str, Any] = settings.pop("config")
        for name in ("shots", "lengths"):
            config[name] = tuple(config[name])
        source = WorldSource(config=WorldConfig(**config), **settings)
    except OSError as error:
        raise InputError(f"cannot read --world {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"--world {path} is no settings.json of a world: {error}") from None
    size = (recipe.video.height, recipe.video.width)
    if (source.height, source.width) != size:
        raise InputError(
            f"--world {path} has pictures of {source.height}×{source.width}, the recipe of "
            f"{size[0]}×{size[1]}: set config.video.height and .width"
        )
    return source


def world_checksum(source: WorldSource) -> str:
    """Of the settings that the stories follow from."""
    settings = json.dumps(dataclasses.asdict(source), sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()


def encode_drawn(
    encoders: Encoders, recipe: PrecomputeRecipe, source: WorldSource, numbers: range
) -> Iterator[ClipRecord]:
    """The records of these stories, in their order, each drawn by another processor."""
    for number, drawn in zip(numbers, draw(source, numbers), strict=True):
        clip = story_clip(source, number)
        _, cut = cut_clip(clip.shots, len(drawn.frames), encoders.preset.vae.time)
        readers = Readers(
            pictures=functools.partial(np.take, drawn.frames, axis=0),
            white=functools.partial(_white, drawn.mask),
            labels=functools.partial(np.take, drawn.labels, axis=0),
        )
        yield encode_from(encoders, recipe, clip, cut, readers)


def draw(source: WorldSource, numbers: range) -> Iterator[DrawnStory]:
    """Stories in their order, drawn ahead in processes of their own."""
    processes = min(os.cpu_count() or 1, len(numbers))
    # New processes: a copy of this one would hold its devices.
    context = multiprocessing.get_context("spawn")
    waiting: collections.deque[Future[DrawnStory]] = collections.deque()
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for number in numbers:
            waiting.append(pool.submit(draw_story, source, number))
            # So many may wait to be encoded; more would fill the memory.
            if len(waiting) > 4 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def draw_story(source: WorldSource, number: int) -> DrawnStory:
    """One story."""
    film = source[number]
    clothing = visible_clothing(film)
    return DrawnStory(film.frames, weight_mask(film, clothing), class_maps(film, clothing))


def story_clip(source: WorldSource, number: int) -> Clip:
    """A story as a row of a table; it has no files."""
    story = source.story(number)
    shots = []
    for first, stop in story.intervals:
        shots.append((int(first), int(stop)))
    return Clip(
        name=f"story-{number:05d}",
        video=pathlib.Path(),
        global_caption=story.script.global_caption,
        captions=story.script.shots,
        shots=tuple(shots),
    )


def _white(mask: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How white some frames of a mask are, 0 to 1."""
    return mask[wanted].mean(axis=-1) / 255
