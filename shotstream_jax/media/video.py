"""An mp4 that is written while it is generated, and can be played at any moment of that.

Every frame is a fragment of its own, in `NAME.partial.mp4`; the file gets its final name when it is done and keeps the
partial one if it is interrupted.
"""

import contextlib
import os
import pathlib
from types import TracebackType
from typing import BinaryIO

import av
import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError

_FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof+frag_every_frame"


def partial_path(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class VideoWriter:
    """Context manager: `write` frames as they come. Nothing is on disk before the first ones.

    lossless: RGB to the bit, for data; many players and all browsers show YUV with half the colour samples only.
    """

    def __init__(self, path: pathlib.Path, fps: int, lossless: bool = False):
        self.path, self.partial, self._fps, self._lossless = path, partial_path(path), fps, lossless
        self._file: BinaryIO | None = None
        self._good = 0  # bytes that hold whole fragments

    def write(self, frames: np.ndarray) -> None:
        """Appends frames [p, y, x, 3] uint8. All but the last are in the file when this returns."""
        try:
            if self._file is None:
                self._open(*frames.shape[1:3])
            for image in frames:
                self._container.mux(
                    self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
                )
            self._file.flush()
            self._good = self._file.tell()
        except OSError as error:
            self._abandon()
            raise self._failed(error) from None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None or self._file.closed:
            return
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._file.close()
            if kind is None:
                os.replace(self.partial, self.path)
        except OSError as error:
            self._abandon()
            raise self._failed(error) from value
        if kind is not None:
            logging.info("what was made so far is in %s", self.partial)

    def _open(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.partial.open("wb")
        self._container = av.open(self._file, "w", format="mp4", options={"movflags": _FRAGMENTED})
        # zerolatency: no frame waits in the encoder for later ones.
        codec, pixels, quality = (
            ("libx264rgb", "rgb24", "0") if self._lossless else ("libx264", "yuv420p", "18")
        )
        options = {"crf": quality, "preset": "veryfast", "tune": "zerolatency"}
        self._stream = self._container.add_stream(codec, rate=self._fps, options=options)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, pixels

    def _abandon(self) -> None:
        """Cuts a half-written fragment off, so that what was made can be played."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                os.truncate(self.partial, self._good)

    def _failed(self, error: OSError) -> InputError:
        return InputError(
            f"cannot go on writing {self.path}: {error.strerror}; what was made is in {self.partial}"
        )
