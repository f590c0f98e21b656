"""Step 4: groups of shots → clips, films of their own: cropped, at the model's rate and size.

A letterboxed film is scaled so that what is between its bars covers the clip's size, and the centre
of that is cut out. All clips of a film are written in one pass over it.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.typing import Int
from shotstream_jax.media.pictures import write_png
from shotstream_jax.media.reader import some_frames
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.prepare.filters import FilmShot
from shotstream_jax.prepare.look import Bars, FilmLook
from shotstream_jax.prepare.recipe import ClipFormat

SHEET_PICTURES = 3  # of a shot
_SHEET_HEIGHT = 96  # pixels, at most
_GAP = 4
_WHITE = 255
_HAIR = 1e-6  # seconds; less than any frame


class ClipFiles(NamedTuple):
    """What is written of a group: its film, and a sheet with a row of pictures for each shot."""

    film: pathlib.Path
    sheet: pathlib.Path


class Framing(NamedTuple):
    """How a film's pictures become a clip's: scaled to height × width, then cut from top, left."""

    height: int
    width: int
    top: int
    left: int


def source_frames(look: FilmLook, shot: FilmShot, fps: int) -> Int[np.ndarray, "n"]:
    """The film's frames that a shot's clip shows, one each 1/fps seconds."""
    moments = shot.start + np.arange(shot.frames) / fps
    shown = np.searchsorted(look.seconds, moments + _HAIR, side="right") - 1
    return np.clip(shown, shot.first, shot.stop - 1)


def write_clips(
    film: pathlib.Path,
    look: FilmLook,
    groups: Sequence[Sequence[FilmShot]],
    form: ClipFormat,
    files: Sequence[ClipFiles],
) -> None:
    """Writes the clips of a film, one for each group of shots, which are in order.

    Raises InputError if the film cannot be read any more, or the disk refuses.
    """
    # Every frame that any clip wants, once; a rate above the film's shows some of them twice.
    wanted = [source_frames(look, shot, form.fps) for group in groups for shot in group]
    if not wanted:
        return
    framing = find_framing(look, form)
    numbers = np.unique(np.concatenate(wanted))
    pictures = some_frames(film, numbers, framing.height, framing.width)
    of_shots = _shots_pictures(wanted, pictures, framing, form)
    for group, out in zip(groups, files, strict=True):
        rows = []
        with VideoWriter(out.film, form.fps, lossless=form.lossless) as video:
            for _ in group:
                frames = next(of_shots)
                video.write(frames)
                rows.append(frames[np.linspace(0, len(frames) - 1, SHEET_PICTURES).astype(int)])
        write_png(out.sheet, _sheet(rows))


def _shots_pictures(
    wanted: Sequence[np.ndarray],
    pictures: Iterator[np.ndarray],
    framing: Framing,
    form: ClipFormat,
) -> Iterator[np.ndarray]:
    """The pictures of one shot after the other, [n, y, x, 3], from those of all frames in order."""
    rows = slice(framing.top, framing.top + form.height)
    columns = slice(framing.left, framing.left + form.width)
    for numbers in wanted:
        _, counts = np.unique(numbers, return_counts=True)
        shown = []
        for count in counts:
            shown += [next(pictures)[rows, columns]] * count
        yield np.stack(shown)


def find_framing(look: FilmLook, form: ClipFormat) -> Framing:
    """The scale at which what is between a film's bars covers the clip, and where it is cut."""
    bars = Bars(*look.bars.tolist())
    height, width = look.size.tolist()
    lit_height = height * (1 - bars.top - bars.bottom)
    lit_width = width * (1 - bars.left - bars.right)
    scale = max(form.height / lit_height, form.width / lit_width)
    whole_height = max(form.height, round(height * scale))
    whole_width = max(form.width, round(width * scale))
    return Framing(
        whole_height,
        whole_width,
        _start_of_centre(whole_height, bars.top, bars.bottom, form.height),
        _start_of_centre(whole_width, bars.left, bars.right, form.width),
    )


def _start_of_centre(side: int, bar_before: float, bar_after: float, length: int) -> int:
    """Where `length` pixels begin whose middle is that of what is between two bars."""
    middle = side * (1 + bar_before - bar_after) / 2
    return int(np.clip(round(middle - length / 2), 0, side - length))


def _sheet(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows [n, y, x, 3] of pictures as one picture, on white."""
    import cv2

    height, width = rows[0].shape[1:3]
    scale = min(1.0, _SHEET_HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    lines = []
    for row in rows:
        line = []
        for picture in row:
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            framed = np.pad(small, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_WHITE)
            line.append(framed)
        lines.append(np.concatenate(line, axis=1))
    return np.ascontiguousarray(np.concatenate(lines))
