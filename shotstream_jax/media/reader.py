"""Reading frames of video files."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Int, UInt8, typechecked

if TYPE_CHECKING:  # large: imported when a file is opened
    import av


class VideoInfo(NamedTuple):
    """frames: that a player shows. fps: frames a second, 0 if the file does not say."""

    frames: int
    fps: float


def probe(path: str | pathlib.Path) -> VideoInfo:
    """Counts a video's frames without decoding them.

    Raises InputError if it cannot be read, is damaged or ends too early.
    """
    with _opened(path) as (container, stream):
        stored = 0  # frames in the file
        shown = 0  # those that a player shows
        # Packets hold encoded frames; an empty one marks the end.
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.is_corrupt:
                raise InputError(
                    f"video {path} is damaged or cut off at frame {stored}: get another copy"
                )
            stored += 1
            if not packet.is_discard:
                shown += 1
        # The header's count, 0 if it has none.
        promised = stream.frames
        if stored < promised:
            raise InputError(
                f"video {path} is cut off: it holds {stored} of its {promised} frames: "
                "get another copy"
            )
        rate = stream.average_rate
        return VideoInfo(shown, float(rate) if rate else 0.0)


def count_frames(path: str | pathlib.Path) -> int:
    """How many frames a video shows. Raises InputError as `probe` does."""
    return probe(path).frames


@typechecked
def read_frames(
    path: str | pathlib.Path, wanted: Int[np.ndarray, "n"], height: int, width: int
) -> UInt8[np.ndarray, "n y x 3"]:
    """Some frames of a video; only those are ever in memory.

    wanted: their numbers, ascending. Each frame is scaled until it covers height × width, its
    aspect kept, and its centre cut out. Raises InputError if the video cannot be decoded or is too
    short.
    """
    if len(wanted) == 0:
        with _opened(path):
            return np.empty((0, height, width, 3), np.uint8)
    if wanted[0] < 0 or (np.diff(wanted) <= 0).any():
        raise InputError(f"wanted frames must ascend from 0 on, got {wanted.tolist()}")
    # Frames are counted as they are decoded: seeking is not exact in every file.
    pictures = np.empty((len(wanted), height, width, 3), np.uint8)
    found = 0
    decoded = 0
    with _opened(path) as (container, stream):
        # Frames are decoded in their order, on several threads, up to the last that is wanted.
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            decoded = number + 1
            if number != wanted[found]:
                continue
            if frame.is_corrupt:
                raise InputError(f"video {path} is damaged at frame {number}: get another copy")
            pictures[found] = _fit(frame, height, width)
            found += 1
            if found == len(wanted):
                return pictures
    raise InputError(
        f"video {path} has {decoded} frames that can be decoded, frame {wanted[found]} is wanted"
    )


def _fit(frame: "av.VideoFrame", height: int, width: int) -> UInt8[np.ndarray, "y x 3"]:
    """A frame, scaled to cover height × width, and the centre of that."""
    scale = max(height / frame.height, width / frame.width)
    # Rounding must not leave a side too short.
    scaled_height = max(height, round(frame.height * scale))
    scaled_width = max(width, round(frame.width * scale))
    scaled = frame.reformat(scaled_width, scaled_height, "rgb24", interpolation="BICUBIC")
    picture = scaled.to_ndarray()
    # The centre of the side that is too long.
    top = (scaled_height - height) // 2
    left = (scaled_width - width) // 2
    return picture[top : top + height, left : left + width]


@contextlib.contextmanager
def _opened(
    path: str | pathlib.Path,
) -> Iterator[tuple["av.container.InputContainer", "av.VideoStream"]]:
    """A file and its first video stream. Decoding errors inside become InputErrors that name it."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no pictures: it is not a video")
            yield container, container.streams.video[0]
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise InputError(f"video {path} cannot be read: {reason}") from None
