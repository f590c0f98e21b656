"""Step 1: one pass over a film, which measures every frame; no later step decodes the whole of it.

Frames are measured at 180 rows in the film's own aspect. Some a second are kept as pictures of
27×48 pixels, by which shots are compared and shown.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.core.files import whole
from shotstream_jax.core.typing import Float, Int, UInt8
from shotstream_jax.media.reader import ShownFrame, every_frame, shown_size
from shotstream_jax.prepare.pictures import mixed_shares, sharpness, text_share

HEIGHT = 180
SMALL = (27, 48)  # what TransNetV2 sees, too
PICTURES_A_SECOND = 4
_FRAMES_A_WORD = 50  # of progress
_DARK_EDGE = 28  # what is never brighter is a bar, 0 to 255
_NEARLY_ALL = 99  # per cent of the pictures
_MOST_BARS = 0.5  # of a side; more is a dark film


class Bars(NamedTuple):
    """The share of a picture that each black bar takes."""

    top: float
    bottom: float
    left: float
    right: float


@dataclasses.dataclass(frozen=True, eq=False)
class FilmLook:
    """What was measured of a film's frames.

    seconds: when each is shown. change: mean difference of hue, saturation and value to the frame
    before. motion: of grey, at 27×48. exchange: the share of that whose colours are new. light,
    spread: mean and standard deviation of grey.
    places: the numbers of the frames of `pictures`; sharp, text: of these (pictures).
    size: height and width as shown. bars: as Bars.
    """

    seconds: Float[np.ndarray, "frames"]
    change: Float[np.ndarray, "frames"]
    motion: Float[np.ndarray, "frames"]
    exchange: Float[np.ndarray, "frames"]
    light: Float[np.ndarray, "frames"]
    spread: Float[np.ndarray, "frames"]
    places: Int[np.ndarray, "pictures"]
    pictures: UInt8[np.ndarray, "pictures 27 48 3"]
    sharp: Float[np.ndarray, "pictures"]
    text: Float[np.ndarray, "pictures"]
    size: Int[np.ndarray, "2"]
    bars: Float[np.ndarray, "4"]

    def __len__(self) -> int:
        return len(self.seconds)

    def end(self, stop: int) -> float:
        """When the frame before `stop` is no longer shown, in seconds."""
        if stop < len(self):
            return float(self.seconds[stop])
        step = self.seconds[-1] / max(1, len(self) - 1)
        return float(self.seconds[-1] + step)

    def pictures_of(self, first: int, stop: int) -> slice:
        """Which of `pictures` lie in these frames."""
        start, end = np.searchsorted(self.places, [first, stop])
        return slice(int(start), int(end))


def look_at(path: pathlib.Path, count: Callable[[int], None]) -> FilmLook:
    """Measures a film.

    count: is told how many more frames were done.
    Raises InputError if the film cannot be read or ends too early.
    """
    size = shown_size(path)
    frames = _Frames()
    for frame, small in measured_frames(path, size, count):
        frames.add(frame.picture, small, frame.seconds)
    return frames.look(size)


def small_frames(path: pathlib.Path, count: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Every frame of a film at 27×48, whatever its aspect; [27, 48, 3] uint8 each."""
    for _, small in measured_frames(path, shown_size(path), count):
        yield small


def measured_frames(
    path: pathlib.Path, size: tuple[int, int], count: Callable[[int], None]
) -> Iterator[tuple[ShownFrame, np.ndarray]]:
    """Every frame at 180 rows, and at 27×48. size: height and width as shown."""
    import cv2

    width = max(SMALL[1], round(HEIGHT * size[1] / size[0]))
    new = 0
    for frame in every_frame(path, HEIGHT, width):
        yield frame, cv2.resize(frame.picture, SMALL[::-1], interpolation=cv2.INTER_AREA)
        new += 1
        if new == _FRAMES_A_WORD:
            count(new)
            new = 0
    count(new)


class _Compared(NamedTuple):
    """What of a frame is compared with the next one: hsv at 180 rows, the others at 27×48."""

    hsv: np.ndarray
    grey: np.ndarray
    colours: np.ndarray


class Changes:
    """How each frame differs from the one before."""

    def __init__(self) -> None:
        self._before: _Compared | None = None

    def measure(self, picture: np.ndarray, small: np.ndarray) -> tuple[float, float, float]:
        """FilmLook's change, motion and exchange of the next frame, [180, x, 3] and [27, 48, 3]."""
        import cv2

        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        small_grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        now = _Compared(hsv, small_grey, mixed_shares(small))
        before = self._before or now
        change = float(cv2.absdiff(now.hsv, before.hsv).mean())
        motion = float(cv2.absdiff(now.grey, before.grey).mean())
        exchange = float(np.abs(now.colours - before.colours).sum() / 2)
        self._before = now
        return change, motion, exchange


class _Frames:
    """Measurements in the making."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []  # of every frame
        self._places: list[int] = []
        self._pictures: list[np.ndarray] = []
        self._sharp: list[float] = []
        self._text: list[float] = []
        self._brightest: list[tuple[np.ndarray, np.ndarray]] = []  # of rows, of columns
        self._changes = Changes()
        self._next_picture = 0.0  # seconds

    def add(self, picture: np.ndarray, small: np.ndarray, seconds: float) -> None:
        """Measures the next frame, [180, x, 3] and [27, 48, 3]."""
        import cv2

        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        changes = self._changes.measure(picture, small)
        light, spread = cv2.meanStdDev(grey)
        self._rows.append((seconds, *changes, float(light[0, 0]), float(spread[0, 0])))
        if seconds >= self._next_picture:
            self._next_picture = seconds + 1 / PICTURES_A_SECOND
            self._keep(grey, small)

    def _keep(self, grey: np.ndarray, small: np.ndarray) -> None:
        """Keeps the newest frame as a picture."""
        self._places.append(len(self._rows) - 1)
        self._pictures.append(small)
        self._sharp.append(sharpness(grey))
        self._text.append(text_share(grey))
        self._brightest.append((grey.max(axis=1), grey.max(axis=0)))

    def look(self, size: tuple[int, int]) -> FilmLook:
        """All measurements of the film."""
        seconds, change, motion, exchange, light, spread = np.array(self._rows, np.float64).T
        rows = np.stack([of_rows for of_rows, _ in self._brightest])
        columns = np.stack([of_columns for _, of_columns in self._brightest])
        return FilmLook(
            seconds=seconds,
            change=change,
            motion=motion,
            exchange=exchange,
            light=light,
            spread=spread,
            places=np.array(self._places),
            pictures=np.stack(self._pictures),
            sharp=np.array(self._sharp),
            text=np.array(self._text),
            size=np.array(size),
            bars=np.array([*_dark_ends(rows), *_dark_ends(columns)]),
        )


def _dark_ends(brightest: np.ndarray) -> tuple[float, float]:
    """The shares of a side, at its two ends, that are dark in nearly all pictures [pictures, n]."""
    is_lit = np.percentile(brightest, _NEARLY_ALL, axis=0) >= _DARK_EDGE
    lit = np.flatnonzero(is_lit)
    length = len(is_lit)
    if not len(lit) or len(lit) < _MOST_BARS * length:
        return 0.0, 0.0
    # The line beside a bar is a mixture of both.
    before = int(lit[0])
    after = length - 1 - int(lit[-1])
    before += before > 0
    after += after > 0
    return before / length, after / length


def write_look(path: pathlib.Path, look: FilmLook, digest: str) -> None:
    """Writes the measurements whole. digest: of what they follow from."""
    write_arrays(path, digest, vars(look))


def read_look(path: pathlib.Path, digest: str) -> FilmLook | None:
    """The measurements of an earlier run; None if there are none, or of anything else."""
    arrays = read_arrays(path, digest)
    return None if arrays is None else FilmLook(**arrays)


def write_arrays(path: pathlib.Path, digest: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by their names, whole. digest: of what they follow from."""
    with whole(path) as partial, partial.open("wb") as file:
        contents: dict[str, Any] = {"digest": np.array(digest), **arrays}
        np.savez_compressed(file, **contents)


def read_arrays(path: pathlib.Path, digest: str) -> dict[str, np.ndarray] | None:
    """Arrays of an earlier run; None if there are none, or they follow from anything else."""
    if not path.exists():
        return None
    with np.load(path) as file:
        arrays = dict(file)
    return arrays if str(arrays.pop("digest")) == digest else None
