"""Step 3: a film's shots → groups of consecutive shots of one scene, each a clip.

A shot belongs to the scene of the shot before it if it is as like one of the last few shots as the
recipe wants (colours, pictures eq. (1)): a dialogue goes back and forth between two views. A scene
is divided so that as many of its shots as possible are in a clip, and of these as few as possible.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from shotstream_jax.prepare.filters import KEPT, FilmShot
from shotstream_jax.prepare.look import FilmLook
from shotstream_jax.prepare.pictures import colour_shares, is_same_picture
from shotstream_jax.prepare.recipe import GroupConfig

ALONE = "alone in its scene"
DUPLICATE = "seen before"


@dataclasses.dataclass(frozen=True)
class Grouping:
    """shots: as given, with the reasons of those in no group. groups: numbers of shots, each."""

    shots: list[FilmShot]
    groups: list[list[int]]


def group_shots(look: FilmLook, shots: Sequence[FilmShot], config: GroupConfig) -> Grouping:
    """The groups of a film, in order."""
    judged = list(shots)
    groups: list[list[int]] = []
    pictures = [_pictures(look, shot) for shot in shots]
    for scene in find_scenes(shots, pictures, config):
        divided = divide_scene([shots[number].frames for number in scene], config)
        used: set[int] = set()
        for start, stop in divided:
            group = scene[start:stop]
            used |= set(group)
            groups.append(group)
        for number in set(scene) - used:
            judged[number] = dataclasses.replace(judged[number], dropped=ALONE)
    return _without_duplicates(judged, groups, pictures, config)


def find_scenes(
    shots: Sequence[FilmShot], pictures: Sequence[np.ndarray], config: GroupConfig
) -> list[list[int]]:
    """Runs of kept shots that are alike, as their numbers.

    pictures: of each shot, [n, 27, 48, 3].
    """
    colours = [_colours(of_shot) for of_shot in pictures]
    scenes: list[list[int]] = []
    scene: list[int] = []
    for number, shot in enumerate(shots):
        # What was dropped ends a scene: shots of a clip follow one another.
        if shot.dropped != KEPT:
            scene = []
            continue
        alike = [_likeness(colours[number], colours[k]) for k in scene[-config.reach :]]
        if not alike or max(alike) < config.likeness:
            scene = []
            scenes.append(scene)
        scene.append(number)
    return scenes


def divide_scene(frames: Sequence[int], config: GroupConfig) -> list[tuple[int, int]]:
    """A scene's shots as [start, stop) pieces, which may leave some out.

    frames: of each shot. As many shots as possible are in a piece, of as few pieces as possible.
    """
    # best[n]: (shots in pieces, −pieces, the pieces) of the first n shots.
    best: list[tuple[int, int, list[tuple[int, int]]]] = [(0, 0, [])]
    for stop in range(1, len(frames) + 1):
        choice = best[stop - 1]  # this shot is in none
        for start in range(max(0, stop - config.most), stop - config.least + 1):
            if sum(frames[start:stop]) > config.frames:
                continue
            covered, pieces, before = best[start]
            option = (covered + stop - start, pieces - 1, [*before, (start, stop)])
            choice = max(choice, option, key=_worth)
        best.append(choice)
    return best[-1][2]


def _worth(option: tuple[int, int, list[tuple[int, int]]]) -> tuple[int, int]:
    return option[:2]


def _pictures(look: FilmLook, shot: FilmShot) -> np.ndarray:
    """Up to three pictures of a shot: near its beginning, its middle, near its end."""
    pictures = look.pictures[look.pictures_of(shot.first, shot.stop)]
    if len(pictures) < 3:
        return pictures
    return pictures[[0, len(pictures) // 2, len(pictures) - 1]]


def _colours(pictures: np.ndarray) -> np.ndarray:
    """The colours of each picture, [n, bins]."""
    return np.array([colour_shares(picture) for picture in pictures])


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """The largest overlap of a picture of the one with a picture of the other; 0 without any."""
    if not len(a) or not len(b):
        return 0.0
    return float(np.minimum(a[:, None], b[None]).sum(-1).max())


def _without_duplicates(
    shots: list[FilmShot],
    groups: list[list[int]],
    pictures: Sequence[np.ndarray],
    config: GroupConfig,
) -> Grouping:
    """Drops groups all of whose shots have been in an earlier one."""
    kept: list[list[int]] = []
    for group in groups:
        seen = [number for earlier in kept for number in earlier]
        if all(_is_among(number, seen, pictures, config.duplicate) for number in group):
            for number in group:
                shots[number] = dataclasses.replace(shots[number], dropped=DUPLICATE)
        else:
            kept.append(group)
    return Grouping(shots, kept)


def _is_among(
    number: int, others: Sequence[int], pictures: Sequence[np.ndarray], least: float
) -> bool:
    """Whether a shot's middle picture is the middle picture of one of the others."""
    picture = pictures[number][len(pictures[number]) // 2]
    for other in others:
        if is_same_picture(picture, pictures[other][len(pictures[other]) // 2], least):
            return True
    return False
