"""Pictures out of video files."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Int, UInt8, typechecked


class VideoInfo(NamedTuple):
    """What a file says about itself: frames that a player shows, and frames a second (0: it does not say)."""

    frames: int
    fps: float


def probe(path: str | pathlib.Path) -> VideoInfo:
    """Counts a video's frames without decoding them. Raises InputError if it cannot be read or ends too early."""
    with _opened(path) as (container, stream):
        stored = shown = 0
        for packet in container.demux(stream):
            if packet.size:
                stored, shown = stored + 1, shown + (not packet.is_discard)
                if packet.is_corrupt:
                    raise InputError(
                        f"video {path} is damaged or cut off at frame {stored - 1}: get another copy"
                    )
        if stored < stream.frames:
            raise InputError(
                f"video {path} is cut off: it holds {stored} of its {stream.frames} frames: get another copy"
            )
        return VideoInfo(shown, float(stream.average_rate or 0))


def count_frames(path: str | pathlib.Path) -> int:
    """How many frames a video has. Raises InputError as `probe`."""
    return probe(path).frames


@typechecked
def read_frames(
    path: str | pathlib.Path, wanted: Int[np.ndarray, "n"], height: int, width: int
) -> UInt8[np.ndarray, "n y x 3"]:
    """Some frames of a video by number, ascending; only those are ever in memory.

    Each is scaled until it covers height × width, its aspect kept, and its centre cut out. Raises InputError if the
    video cannot be decoded or is too short.
    """
    if len(wanted) and (wanted[0] < 0 or (np.diff(wanted) <= 0).any()):
        raise InputError(f"wanted frames must ascend from 0 on, got {wanted.tolist()}")
    pictures = np.empty((len(wanted), height, width, 3), np.uint8)
    found, seen = 0, 0
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        frames = container.decode(stream) if len(wanted) else ()
        for seen, frame in enumerate(frames, 1):
            if seen - 1 == wanted[found]:
                if frame.is_corrupt:
                    raise InputError(
                        f"video {path} is damaged at frame {seen - 1}: get another copy"
                    )
                pictures[found] = _fit(frame, height, width)
                found += 1
            if found == len(wanted):
                break
    if found < len(wanted):
        raise InputError(
            f"video {path} has {seen} frames that can be decoded, frame {wanted[found]} is wanted"
        )
    return pictures


def _fit(frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
    scale = max(height / frame.height, width / frame.width)
    y, x = max(height, round(frame.height * scale)), max(width, round(frame.width * scale))
    picture = frame.reformat(x, y, "rgb24", interpolation="BICUBIC").to_ndarray()
    top, left = (y - height) // 2, (x - width) // 2
    return picture[top : top + height, left : left + width]


@contextlib.contextmanager
def _opened(
    path: str | pathlib.Path,
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A file and its first video stream; whatever goes wrong inside names the file."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no pictures: it is no video")
            yield container, container.streams.video[0]
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"video {path} cannot be read: {error.strerror or error}") from None
