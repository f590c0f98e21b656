"""Pieces of film, one a chunk of frames: shown as soon as they are made, and joined afterwards.

A piece is a fragmented mp4 of its own. It begins with a picture that needs no other one, and holds
all of its frames: of one growing film the last frame only comes out with the next one, that is
after the next prompt.
"""

import io
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import whole
from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.core.values import as_path, number_between
from shotstream_jax.media.decode import BOUND
from shotstream_jax.media.encoder import FilmEncoder, enlarged
from shotstream_jax.media.formats import FORMATS, FilmFormat, check_sides

if TYPE_CHECKING:
    import av

_FASTEST = 1000  # frames a second
_LARGEST_SCALE = 1000
_PIXELS_A_THREAD = 1 << 17
# Enlarged pixels are squares of one colour with sharp edges: there are no smaller parts to look
# for, and no edges to be smoothed. Pieces that were made without this can be joined with these.
_SQUARES = "partitions=none:subme=2:me=dia:aq-mode=0:no-deblock=1"


@typechecked
def chunk_file(frames: UInt8[np.ndarray, "p y x 3"], fps: int, scale: int = 1) -> bytes:
    """Frames as an mp4 file of their own.

    scale: how often a pixel is repeated in each direction (formats.enlargement). Raises InputError
    if there are no frames, or if they cannot be a film of this size or rate.
    """
    if not len(frames):
        raise InputError("a piece of film needs at least one frame")
    fps = number_between(fps, "fps", 1, _FASTEST)
    large = enlarged(frames, number_between(scale, "scale", 1, _LARGEST_SCALE))
    height, width = large.shape[1:3]
    form = _piece_format(height, width, scale)
    check_sides(form, height, width)
    file = io.BytesIO()
    encoder = FilmEncoder(file, form, height, width, fps)
    for image in large:
        encoder.add(image)
    encoder.close()
    return file.getvalue()


def _piece_format(height: int, width: int, scale: int) -> FilmFormat:
    """The format of pieces of a size, whose bits are the same on every machine.

    Each thread encodes a part of its own of a picture, so their number must not be the cores'.
    """
    threads = max(1, height * width // _PIXELS_A_THREAD)
    mp4 = FORMATS[".mp4"]
    options = {**mp4.codec_options, "threads": str(threads)}
    if scale > 1:
        options["x264-params"] = _SQUARES
    return mp4._replace(codec_options=options)


def join(pieces: Iterable[bytes], path: str | pathlib.Path) -> None:
    """Pieces one after another as an ordinary mp4, whole or not at all; nothing is encoded again.

    pieces: as chunk_file makes them; one at a time is held. Raises InputError if there are none, if
    one is damaged or differs from the first in size or rate, or if the disk refuses the film.
    """
    import av

    path = as_path(path, "the film")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as copy:
            write_to = f"file:{copy.absolute()}"
            with av.open(write_to, "w", format="mp4", options={"movflags": "+faststart"}) as film:
                _join(pieces, film)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _join(pieces: Iterable[bytes], film: "av.container.OutputContainer") -> None:
    """All packets of all pieces, each piece's times after those before it."""
    import av

    stream = None
    kind = None
    start = 0
    for number, piece in enumerate(pieces, 1):
        try:
            with av.open(io.BytesIO(piece), "r", format="mp4", options=BOUND) as source:
                track = source.streams.video[0]
                if stream is None:
                    stream = film.add_stream_from_template(track)
                    kind = _kind(track)
                _check_kind(number, track, kind)
                start = _append(source, track, stream, film, start)
        except (av.error.FFmpegError, IndexError) as error:
            raise InputError(f"piece {number} is no film, or damaged: {error}") from None
    if stream is None:
        raise InputError("there are no pieces to join")


def _kind(track: "av.VideoStream") -> tuple[Any, ...]:
    """What is said once of all frames of a film."""
    context = track.codec_context
    return (track.height, track.width, track.average_rate, track.time_base, context.extradata)


def _check_kind(number: int, track: "av.VideoStream", kind: object) -> None:
    """Refuses a piece whose frames the film's description does not fit."""
    if _kind(track) != kind:
        raise InputError(
            f"piece {number} has {track.width}×{track.height} at {track.average_rate} frames a "
            "second, the first one another size, rate or encoder: they cannot be joined"
        )


def _append(
    source: "av.container.InputContainer",
    track: "av.VideoStream",
    stream: "av.VideoStream",
    film: "av.container.OutputContainer",
    start: int,
) -> int:
    """A piece's packets, from the time `start` on. Returns the time at their end."""
    stop = start
    for packet in source.demux(track):
        # The last one only marks the end.
        if packet.dts is None or packet.pts is None:
            continue
        packet.pts += start
        packet.dts += start
        stop = max(stop, packet.pts + (packet.duration or 0))
        packet.stream = stream
        film.mux(packet)
    return stop
