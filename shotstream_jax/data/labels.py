"""What each cell of a clip's latents shows, by the video of labels beside its film.

A cell's class is the most frequent one of its pixels but 0, if that covers at least an eighth of
them, and else 0. A shot's first latent frame stands for one pixel frame, each later one for `time`
of them, as the latents themselves.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.typing import AnyArray, Float, UInt8
from shotstream_jax.media.reader import read_frames, shown_size

LEAST_SHARE = 1 / 8  # of a cell's pixels


class ClipLabels(NamedTuple):
    """Classes of a clip's cells, an entry a shot: of its targets, and of its context frames."""

    targets: list[np.ndarray]
    context: list[np.ndarray]


def clip_labels(
    read: Callable[[np.ndarray], np.ndarray],
    targets: Sequence[np.ndarray],
    kept: Sequence[np.ndarray],
    grid: tuple[int, int],
    time: int,
) -> ClipLabels:
    """The labels of a clip's targets [f, h, w, 3] and context frames [n, h, w, 3].

    Args:
      read: gives the labels of frames by their numbers, [p, y, x, 3].
      targets, kept: numbers of each shot's frames.
      grid: rows and columns of a latent frame.
      time: pixel frames of a latent frame.
    """
    wanted = np.unique(np.concatenate([*targets, *kept]))
    labels = read(wanted)
    target_cells = []
    context_cells = []
    for target, frames in zip(targets, kept, strict=True):
        target_cells.append(cell_classes(labels[np.searchsorted(wanted, target)], grid, time))
        # A context frame is a video of one frame.
        context_cells.append(cell_classes(labels[np.searchsorted(wanted, frames)], grid, 1))
    return ClipLabels(target_cells, context_cells)


def read_labels(
    path: pathlib.Path, wanted: np.ndarray, size: tuple[int, int]
) -> UInt8[np.ndarray, "n y x maps"]:
    """Some frames of a video of labels at the pictures' size, height and width."""
    # Read as they are, since a mixture of two classes is a third one.
    return nearest_pixels(read_frames(path, wanted, *shown_size(path)), size)


def nearest_pixels(
    pictures: UInt8[np.ndarray, "p y0 x0 maps"], size: tuple[int, int]
) -> UInt8[np.ndarray, "p y x maps"]:
    """Pictures at another size, cut as media/reader.read_frames cuts films: nothing is mixed."""
    height, width = pictures.shape[1:3]
    scale = max(size[0] / height, size[1] / width)
    # Where the centre of each new row and column lies in the old ones, the middle on the middle.
    rows = height / 2 + (np.arange(size[0]) + 0.5 - size[0] / 2) / scale
    columns = width / 2 + (np.arange(size[1]) + 0.5 - size[1] / 2) / scale
    return pictures[:, rows.astype(int)][:, :, columns.astype(int)]


def cell_classes(
    labels: UInt8[np.ndarray, "p y x maps"], grid: tuple[int, int], time: int
) -> UInt8[np.ndarray, "f h w maps"]:
    """The class of each latent cell, of p = (f − 1)·time + 1 pixel frames."""
    # Each class's share of the pixels of every cell: [classes but 0, f, h, w, maps].
    shares = []
    for number in range(1, max(1, int(labels.max())) + 1):
        shares.append(cell_means(labels == number, grid, time))
    most = np.argmax(shares, axis=0)
    is_seen = np.max(shares, axis=0) >= LEAST_SHARE
    return np.where(is_seen, 1 + most, 0).astype(np.uint8)


def cell_means(
    pixels: AnyArray, grid: tuple[int, int], time: int
) -> Float[np.ndarray, "f h w maps"]:
    """Means over the pixels [p, y, x, maps] that each latent cell stands for, p as above."""
    rows, columns = grid
    pixel_rows, pixel_columns, maps = pixels.shape[1:]
    # Over time: [f − 1, time, y, x, maps] → [f − 1, y, x, maps], behind the first frame.
    later = pixels[1:].reshape(-1, time, pixel_rows, pixel_columns, maps).mean(axis=1)
    per_frame = np.concatenate([pixels[:1], later])
    # Over space: [f, h, y/h, w, x/w, maps] → [f, h, w, maps].
    cells = per_frame.reshape(-1, rows, pixel_rows // rows, columns, pixel_columns // columns, maps)
    return cells.mean(axis=(2, 4))
