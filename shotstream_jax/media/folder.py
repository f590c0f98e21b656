"""A film as a folder of PNG pictures; and the choice between a folder and a file."""

import contextlib
import os
import pathlib
from types import TracebackType
from typing import Any

import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.formats import FORMATS, film_facts
from shotstream_jax.media.pictures import write_png
from shotstream_jax.media.video import VideoWriter, partial_path


class FolderWriter:
    """As VideoWriter: frames become 000000.png, 000001.png, … of a folder.

    The folder has its final name when it is complete, and NAME.partial before.
    """

    def __init__(self, path: pathlib.Path, fps: int, scale: int = 1):
        self.path = path
        self.partial = partial_path(path)
        self.frames = 0  # written so far
        self._fps = fps
        self._scale = scale
        self._size: tuple[int, int] | None = None

    def write(self, frames: np.ndarray) -> None:
        """Appends frames [p, y, x, 3] uint8. Raises InputError if the disk refuses them."""
        if not self.frames:
            self._remove_old()
        large = frames.repeat(self._scale, axis=1).repeat(self._scale, axis=2)
        self._size = (large.shape[1], large.shape[2])
        for picture in large:
            write_png(_picture_path(self.partial, self.frames), picture)
            self.frames += 1

    def facts(self) -> dict[str, Any]:
        """As VideoWriter.facts."""
        return film_facts(f"{self.path}/", "png", self._size, self._scale, self.frames, self._fps)

    def __enter__(self) -> "FolderWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.frames:
            return
        if kind is not None:
            logging.info("what was made so far is in %s", self.partial)
            return
        try:
            # A folder that is there is replaced only if it is empty.
            os.replace(self.partial, self.path)
        except OSError as error:
            raise InputError(
                f"cannot write {self.path}: {error.strerror}; the pictures are in {self.partial}"
            ) from None

    def _remove_old(self) -> None:
        """Removes the pictures of an interrupted run."""
        with contextlib.suppress(OSError):
            for picture in self.partial.glob("[0-9]" * 6 + ".png"):
                picture.unlink()


def _picture_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number:06d}.png"


def film_writer(path: pathlib.Path, fps: int, scale: int = 1) -> VideoWriter | FolderWriter:
    """The writer of a film (formats.check_film): a file, or a folder of pictures."""
    if path.suffix in FORMATS:
        return VideoWriter(path, fps, scale=scale)
    return FolderWriter(path, fps, scale)
