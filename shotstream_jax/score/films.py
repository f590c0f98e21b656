"""A film that is scored: its files, what was asked for, and where its shots are.

A film is one file, or a file for each shot, shown one after the other. Frames are numbered through
all of its files.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import UInt8
from shotstream_jax.media.reader import every_frame, probe, shown_size, some_frames
from shotstream_jax.text.prompts import Script

# A shot's [first, stop) frames.
ShotList = list[tuple[int, int]]

_USUAL_RATE = 16.0  # frames a second, of a file that does not say


@dataclasses.dataclass(frozen=True)
class SuiteFilm:
    """What is known of a film before it is opened.

    name: for people and reports. parts: its files. script: what it shows; None if nobody says.
    begins: whether each of the script's shots begins with a cut. lengths: the frames of each shot
    as its maker has noted them; empty if not known.
    """

    name: str
    parts: tuple[pathlib.Path, ...]
    script: Script | None
    begins: tuple[bool, ...] = ()
    lengths: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class OpenFilm:
    """A film whose files can be read.

    counts: frames of each file. size: height and width as a player shows the first one.
    """

    film: SuiteFilm
    counts: tuple[int, ...]
    size: tuple[int, int]
    fps: float

    @property
    def frames(self) -> int:
        """Of all files."""
        return sum(self.counts)

    def batches(self, most: int) -> Iterator[UInt8[np.ndarray, "n y x 3"]]:
        """All frames at the film's size, up to `most` at a time."""
        pictures: list[np.ndarray] = []
        for path in self.film.parts:
            for frame in every_frame(path, *self.size):
                pictures.append(frame.picture)
                if len(pictures) == most:
                    yield np.stack(pictures)
                    pictures = []
        if pictures:
            yield np.stack(pictures)

    def pick(self, wanted: Sequence[int]) -> Iterator[UInt8[np.ndarray, "y x 3"]]:
        """Some frames at the film's size. wanted: their numbers, ascending."""
        numbers = np.asarray(wanted, np.int64)
        first = 0
        for path, count in zip(self.film.parts, self.counts, strict=True):
            inside = numbers[(numbers >= first) & (numbers < first + count)]
            yield from some_frames(path, inside - first, *self.size)
            first += count


def open_film(film: SuiteFilm) -> OpenFilm:
    """Counts the frames of a film's files.

    Raises InputError if a file cannot be read, or if the film has fewer frames than shots.
    """
    # All files are decoded once: no header tells how many frames can be shown.
    infos = list(map(probe, film.parts))
    opened = OpenFilm(
        film,
        counts=tuple(info.frames for info in infos),
        size=shown_size(film.parts[0]),
        fps=infos[0].fps or _USUAL_RATE,
    )
    if film.script is not None and opened.frames < len(film.script.shots):
        raise InputError(
            f"{film.name} has fewer frames than its script has shots: is it another script's?"
        )
    return opened


def asked_shots(opened: OpenFilm) -> ShotList:
    """Where each of the script's shots should be; one shot if there is no script.

    By the film's files if each is a shot, else by the lengths that its maker has noted, else all
    of one length.
    """
    film = opened.film
    count = len(film.script.shots) if film.script else 1
    if len(opened.counts) == count:
        lengths: Sequence[int] = opened.counts
    elif len(film.lengths) == count and sum(film.lengths) == opened.frames:
        lengths = film.lengths
    else:
        lengths = [len(part) for part in np.array_split(np.arange(opened.frames), count)]
    return _shots(lengths)


def asked_cuts(opened: OpenFilm) -> list[int]:
    """The first frames of the script's shots that should begin with a cut, but for the first."""
    shots = asked_shots(opened)
    begins = opened.film.begins or (True,) * len(shots)
    cuts = []
    for (first, _), begins_with_cut in zip(shots[1:], begins[1:], strict=True):
        if begins_with_cut:
            cuts.append(first)
    return cuts


def shots_between(cuts: Sequence[int], frames: int) -> ShotList:
    """The shots of a film with these cuts. cuts: first frames of all shots but the first."""
    return list(itertools.pairwise([0, *cuts, frames]))


def _shots(lengths: Sequence[int]) -> ShotList:
    edges = np.cumsum([0, *lengths]).tolist()
    return list(itertools.pairwise(edges))
