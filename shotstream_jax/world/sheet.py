"""A contact sheet: shots as rows, time from left to right."""

from collections.abc import Sequence

import numpy as np

from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.world.render import Film

_GAP = 2  # pixels to the right of each picture and below it
_STORY_GAP = 3 * _GAP  # further pixels between two stories
_WHITE = 255


@typechecked
def contact_sheet(
    films: Sequence[Film],
    columns: int = 6,
    enlarge: int = 1,
) -> UInt8[np.ndarray, "y x 3"]:
    """One picture with a row for each shot of films of one size; a wider gap parts the stories.

    columns: moments per shot, evenly spaced.
    enlarge: how often a pixel is repeated in each direction.
    """
    rows: list[np.ndarray] = []
    for film in films:
        if rows:
            width = rows[0].shape[1]
            rows.append(np.full((_STORY_GAP, width, 3), _WHITE, np.uint8))
        for first, stop in film.story.intervals:
            # Evenly spaced, the first and the last frame included.
            moments = np.linspace(first, stop - 1, columns).round().astype(int)
            rows.append(_row(film.frames[moments], enlarge))
    return np.concatenate(rows)


def _row(pictures: UInt8[np.ndarray, "p y x 3"], enlarge: int) -> UInt8[np.ndarray, "y x 3"]:
    """Pictures side by side, each with a gap to its right and below."""
    # [p, y·enlarge, x·enlarge, 3], then with gaps.
    large = pictures.repeat(enlarge, axis=1).repeat(enlarge, axis=2)
    gaps = ((0, 0), (0, _GAP), (0, _GAP), (0, 0))
    padded = np.pad(large, gaps, constant_values=_WHITE)
    return np.concatenate(list(padded), axis=1)
