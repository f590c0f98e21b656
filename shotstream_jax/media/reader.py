"""Reading films: which frames there are, and the pictures of some of them.

Frames are numbered as a player counts them, in the order in which they are shown: those that the
decoder gives, whatever time lies between two of them. So a film of variable rate has as many as it
stores, and a gap in time has none. What an edit list cuts away is not counted, nor what comes
before the first frame that can be decoded (a recording may begin within a group of pictures).

A name is that of a file, and never an address, a pattern, a playlist or a pipe.
"""

import contextlib
import fractions
import pathlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Int, UInt8, typechecked
from shotstream_jax.media.cut_off import is_cut_off
from shotstream_jax.media.shown import Screen

if TYPE_CHECKING:  # large: imported when a file is opened
    import av

_USUAL_RATE = 25  # frames a second, of a file that does not say
# VP8 and VP9 keep transparency in a second picture, which only these decoders read.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class VideoInfo(NamedTuple):
    """frames: that a player shows. fps: frames a second, 0 if the file does not say."""

    frames: int
    fps: float


class ShownFrame(NamedTuple):
    """picture: RGB, [y, x, 3]. seconds: when it is shown, from the first frame on."""

    picture: np.ndarray
    seconds: float


def probe(path: str | pathlib.Path) -> VideoInfo:
    """Counts a video's frames, by decoding them: no header tells what can be shown.

    Raises InputError if it cannot be read, is damaged or ends too early.
    """
    with _opened(path) as (container, stream):
        if is_cut_off(pathlib.Path(path), stream):
            raise InputError(f"video {path} is cut off: get another copy")
        count = sum(1 for _ in _frames(path, container, stream))
        rate: fractions.Fraction | None = stream.average_rate
    if not count:
        raise InputError(f"video {path} has no frame that can be decoded: get another copy")
    return VideoInfo(count, float(rate) if rate else 0.0)


def count_frames(path: str | pathlib.Path) -> int:
    """How many frames a video shows. Raises InputError as `probe` does."""
    return probe(path).frames


@typechecked
def read_frames(
    path: str | pathlib.Path,
    wanted: Int[np.ndarray, "n"],
    height: int,
    width: int,
    bound: Mapping[str, str] = MappingProxyType({}),
) -> UInt8[np.ndarray, "n y x 3"]:
    """Some frames of a video, as a player shows them (shown); only those are ever in memory.

    wanted: their numbers, ascending. Each frame is scaled until it covers height × width, its
    aspect kept, and its centre cut out. bound: decode.BOUND for a stranger's chunk file. Raises
    InputError if the video cannot be decoded or is too short.
    """
    pictures = np.empty((len(wanted), height, width, 3), np.uint8)
    for place, picture in enumerate(some_frames(path, wanted, height, width, bound)):
        pictures[place] = picture
    return pictures


def some_frames(
    path: str | pathlib.Path,
    wanted: np.ndarray,
    height: int,
    width: int,
    bound: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[np.ndarray]:
    """The frames of `read_frames` one after the other, in one pass; [y, x, 3] each."""
    if len(wanted) == 0:
        with _opened(path):
            return
    if wanted[0] < 0 or (np.diff(wanted) <= 0).any():
        raise InputError(f"wanted frames must ascend from 0 on, got {wanted.tolist()}")
    # Frames are counted as they are decoded: seeking is not exact in every file.
    found = 0
    decoded = 0
    with _opened(path, bound) as (container, stream):
        stream.codec_context.options = dict(bound)
        screen = Screen(str(path), stream, height, width)
        # Frames are decoded in their order up to the last that is wanted.
        for number, frame in enumerate(_frames(path, container, stream)):
            decoded = number + 1
            screen.notice(frame)
            if number != wanted[found]:
                continue
            yield screen.show(frame)
            found += 1
            if found == len(wanted):
                return
    raise InputError(
        f"video {path} has {decoded} frames that can be decoded, frame {wanted[found]} is wanted"
    )


def told_frames(path: str | pathlib.Path) -> int:
    """How many frames a file says it has, without decoding any; 0 if it does not say.

    For progress bars: what can be shown is told by `probe`.
    """
    try:
        with _opened(path) as (container, stream):
            if stream.frames:
                return stream.frames
            seconds = (container.duration or 0) / 1e6
            return round(seconds * float(stream.average_rate or 0))
    except InputError:
        return 0


def shown_size(path: str | pathlib.Path) -> tuple[int, int]:
    """Height and width at which a player shows a video, in square pixels.

    Those of its first frame. Raises InputError if there is none, or the file cannot be read.
    """
    with _opened(path) as (container, stream):
        for frame in _frames(path, container, stream):
            screen = Screen(str(path), stream, 1, 1)
            screen.notice(frame)
            return screen.own_size(frame)
    raise InputError(f"video {path} has no frame that can be decoded: get another copy")


def every_frame(path: str | pathlib.Path, height: int, width: int) -> Iterator[ShownFrame]:
    """All frames of a video in order, each fitted to a size as by `read_frames`.

    Where the file gives a frame no time, it is shown one frame's time after the one before.
    Raises InputError if the video cannot be decoded, is damaged or ends too early.
    """
    with _opened(path) as (container, stream):
        if is_cut_off(pathlib.Path(path), stream):
            raise InputError(f"video {path} is cut off: get another copy")
        screen = Screen(str(path), stream, height, width)
        step = 1 / float(stream.average_rate or _USUAL_RATE)
        start = None
        seconds = -step
        for frame in _frames(path, container, stream):
            screen.notice(frame)
            # Times are told from the first frame, and never run back.
            told = seconds + step
            if frame.time is not None:
                start = frame.time if start is None else start
                told = frame.time - start
            seconds = max(told, seconds)
            yield ShownFrame(screen.show(frame), max(seconds, 0.0))


def _frames(
    path: str | pathlib.Path, container: "av.container.InputContainer", stream: "av.VideoStream"
) -> Iterator["av.VideoFrame"]:
    """All frames that are shown, in order."""
    import av

    decoder = _decoder(path, stream)
    # A recording has jumps, which are no damage, and a player goes on after them.
    is_recording = container.format.name == "mpegts"
    count = 0
    for packet in container.demux(stream):
        # An empty packet before the end is a gap; the decoder would take it for the end.
        if not packet.size and packet.dts is not None:
            continue
        if packet.is_corrupt and not is_recording:
            raise InputError(
                f"video {path} is damaged or cut off at frame {count}: get another copy"
            )
        try:
            decoded = decoder.decode(packet)
        except av.error.InvalidDataError:
            # Before the first frame: what refers to pictures that the file does not have.
            if count:
                raise
            continue
        for frame in decoded:
            if frame.is_corrupt and not count:
                continue
            if frame.is_corrupt and not is_recording:
                raise InputError(f"video {path} is damaged at frame {count}: get another copy")
            count += 1
            yield frame


def _decoder(path: str | pathlib.Path, stream: "av.VideoStream") -> "av.VideoCodecContext":
    """The stream's decoder, on several threads."""
    import av

    context = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.name in _ALPHA_DECODERS:
        name = _ALPHA_DECODERS[context.name]
        if name not in av.codecs_available:
            raise InputError(f"video {path} is transparent, which needs a PyAV with {name}")
        other = av.CodecContext.create(name, "r")
        assert isinstance(other, av.VideoCodecContext)
        other.extradata = context.extradata
        context = other
    context.thread_type = "AUTO"
    return context


class _File:
    """A file without its name, so that FFmpeg finds no protocol, pattern or number in that."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def read(self, count: int) -> bytes:
        """The next bytes."""
        return self._file.read(count)

    def seek(self, place: int, whence: int = 0) -> int:
        """Goes to a place."""
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """Where it is."""
        return self._file.tell()


@contextlib.contextmanager
def _opened(
    path: str | pathlib.Path, bound: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple["av.container.InputContainer", "av.VideoStream"]]:
    """A file and its film's stream. Decoding errors inside become InputErrors that name it."""
    import av

    # A playlist inside of the file opens nothing either: no protocol has this name.
    options = {"protocol_whitelist": "none", **bound}
    try:
        if pathlib.Path(path).exists() and not pathlib.Path(path).is_file():
            raise InputError(f"video {path} is not a file")
        with (
            open(path, "rb") as file,
            av.open(_File(file), mode="r", options=options) as container,
        ):
            yield container, _film(path, container)
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise InputError(f"video {path} cannot be read: {reason}") from None


def _film(path: str | pathlib.Path, container: "av.container.InputContainer") -> "av.VideoStream":
    """The stream that a player shows: of those that are no cover, the default or first one."""
    import av

    cover = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    films = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not films:
        found = "only a cover picture" if container.streams.video else "no pictures"
        raise InputError(f"{path} has {found}: it is not a video")
    for stream in films:
        if stream.disposition & av.stream.Disposition.default:
            return stream
    return films[0]
