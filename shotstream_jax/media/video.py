"""Writing an mp4 while it is generated, so that it can be played at any moment of that.

Every frame is a fragment of its own, in `NAME.partial.mp4`; the file gets its final name when it is
complete and keeps the partial one if it is interrupted.
"""

import contextlib
import os
import pathlib
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError

if TYPE_CHECKING:  # large: imported when a video is written
    import av

# The muxer's flags for a file that can be played before it ends.
_FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof+frag_every_frame"


class _Codec(NamedTuple):
    """An encoder, its pixels and its constant rate factor (0: lossless, 18: visually so)."""

    name: str
    pixels: str
    quality: str


_YUV = _Codec("libx264", "yuv420p", "18")
_LOSSLESS = _Codec("libx264rgb", "rgb24", "0")


def partial_path(path: pathlib.Path) -> pathlib.Path:
    """The name of a video that is not complete: NAME.partial.mp4."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class _OpenVideo(NamedTuple):
    """A file that is being written."""

    file: BinaryIO
    container: "av.container.OutputContainer"
    stream: "av.VideoStream"


class VideoWriter:
    """A context manager to write frames as they come. Nothing is on disk before the first ones.

    lossless: RGB to the bit, for data. Otherwise YUV with half the colour samples, which is all
    that browsers and many players show.
    """

    def __init__(self, path: pathlib.Path, fps: int, lossless: bool = False):
        self.path = path
        self.partial = partial_path(path)
        self._fps = fps
        self._codec = _LOSSLESS if lossless else _YUV
        self._open: _OpenVideo | None = None
        self._good = 0  # bytes of the file that hold complete fragments

    def write(self, frames: np.ndarray) -> None:
        """Appends frames [p, y, x, 3] uint8. All but the last are in the file when this returns.

        Raises InputError if the disk refuses them.
        """
        import av

        try:
            if self._open is None:
                self._open = self._create(*frames.shape[1:3])
            file, container, stream = self._open
            for image in frames:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame))
            # Whatever comes next, these bytes are whole fragments.
            file.flush()
            self._good = file.tell()
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
        if self._open is None or self._open.file.closed:
            return
        file, container, stream = self._open
        # Whether all went well or not, what was encoded is completed.
        try:
            # The frame that the encoder still holds.
            container.mux(stream.encode())
            container.close()
            file.close()
            # An interrupted video keeps its partial name.
            if kind is None:
                os.replace(self.partial, self.path)
        except OSError as error:
            self._abandon()
            raise self._failed(error) from value
        if kind is not None:
            logging.info("what was made so far is in %s", self.partial)

    def _create(self, height: int, width: int) -> _OpenVideo:
        """The partial file, and the encoder that writes to it."""
        import av

        # Only now: a run that fails before its first frame leaves nothing behind.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.partial.open("wb")
        container = av.open(file, "w", format="mp4", options={"movflags": _FRAGMENTED})
        # zerolatency: no frame waits in the encoder for later ones.
        options = {"crf": self._codec.quality, "preset": "veryfast", "tune": "zerolatency"}
        stream = container.add_stream(self._codec.name, rate=self._fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height = height
        stream.width = width
        stream.pix_fmt = self._codec.pixels
        return _OpenVideo(file, container, stream)

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
