"""Writing a film while it is generated, so that it can be played at any moment of that.

It grows as `NAME.partial.mp4`, every frame a fragment of its own. When it is complete it becomes an
ordinary film of the final name (finish); if it is interrupted it keeps the partial one.

Pictures that are smaller than a screen are enlarged by a whole number, so that each of their pixels
keeps its colour (docs/results.md).
"""

import contextlib
import os
import pathlib
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.encoder import FilmEncoder, enlarged
from shotstream_jax.media.finish import finish_film
from shotstream_jax.media.formats import FORMATS, LOSSLESS, check_sides, film_facts


def partial_path(path: pathlib.Path) -> pathlib.Path:
    """The name of a video that is not complete: NAME.partial.mp4."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class _OpenVideo(NamedTuple):
    """A file that is being written, and what writes to it."""

    file: BinaryIO
    encoder: FilmEncoder


class VideoWriter:
    """A context manager to write frames as they come. Nothing is on disk before the first ones.

    path: its end says the format (formats). scale: how often a pixel is repeated in each direction.
    lossless: RGB to the bit, for data.
    """

    def __init__(self, path: pathlib.Path, fps: int, lossless: bool = False, scale: int = 1):
        self.path = path
        self.partial = partial_path(path)
        self.frames = 0  # written so far
        self._fps = fps
        self._scale = scale
        self._format = LOSSLESS if lossless else FORMATS[path.suffix]
        self._open: _OpenVideo | None = None
        self._good = 0  # bytes of the file that hold complete fragments

    def write(self, frames: np.ndarray) -> None:
        """Appends frames [p, y, x, 3] uint8. All but the last are in the file when this returns.

        Raises InputError if the disk refuses them.
        """
        large = enlarged(frames, self._scale)
        try:
            if self._open is None:
                self._open = self._create(*large.shape[1:3])
            opened = self._open
            for image in large:
                opened.encoder.add(image)
                self.frames += 1
            # Whatever comes next, these bytes are whole fragments.
            opened.file.flush()
            self._good = opened.file.tell()
        except OSError as error:
            self._abandon()
            raise self._failed(error) from None

    def facts(self) -> dict[str, Any]:
        """What was written, for a report (formats.film_facts)."""
        size = None
        if self._open is not None:
            size = (self._open.encoder.height, self._open.encoder.width)
        codec = self._format.codec
        return film_facts(str(self.path), codec, size, self._scale, self.frames, self._fps)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is None or self._open.file.closed:
            return
        # Whether all went well or not, what was encoded is completed.
        try:
            self._open.encoder.close()
            self._open.file.close()
            self._good = self.partial.stat().st_size
            # An interrupted video keeps its partial name.
            if kind is None:
                self._finish()
        except OSError as error:
            self._abandon()
            raise self._failed(error) from value
        if kind is not None:
            logging.info("what was made so far is in %s", self.partial)

    def _finish(self) -> None:
        """Gives the complete film its name."""
        if "movflags" in self._format.options:
            finish_film(self.partial, self.path, self._format.container)
        else:
            os.replace(self.partial, self.path)

    def _create(self, height: int, width: int) -> _OpenVideo:
        """The partial file, and the encoder that writes to it."""
        check_sides(self._format, height, width)
        # Only now: a run that fails before its first frame leaves nothing behind.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.partial.open("wb")
        return _OpenVideo(file, FilmEncoder(file, self._format, height, width, self._fps))

    def _abandon(self) -> None:
        """Cuts a half-written fragment off, so that what was made can be played."""
        if self._open is None:
            return
        with contextlib.suppress(OSError):
            self._open.file.close()
        with contextlib.suppress(OSError):
            os.truncate(self.partial, self._good)

    def _failed(self, error: OSError) -> InputError:
        return InputError(
            f"cannot go on writing {self.path}: {error.strerror}; "
            f"what was made is in {self.partial}"
        )
