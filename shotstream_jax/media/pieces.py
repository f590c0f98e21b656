"""Pieces of film, one a chunk of frames: shown as soon as they are made, and joined afterwards.

A piece is a fragmented mp4 of its own. It begins with a picture that needs no other one, and holds
all of its frames: of one growing film the last frame only comes out with the next one, that is
after the next prompt.
"""

import io
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import whole
from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.media.encoder import FilmEncoder, enlarged
from shotstream_jax.media.formats import FORMATS

if TYPE_CHECKING:
    import av


@typechecked
def chunk_file(frames: UInt8[np.ndarray, "p y x 3"], fps: int, scale: int = 1) -> bytes:
    """Frames as an mp4 file of their own.

    scale: how often a pixel is repeated in each direction (formats.enlargement). Raises InputError
    if there are no frames.
    """
    if not len(frames):
        raise InputError("a piece of film needs at least one frame")
    large = enlarged(frames, scale)
    file = io.BytesIO()
    encoder = FilmEncoder(file, FORMATS[".mp4"], large.shape[1], large.shape[2], fps)
    for image in large:
        encoder.add(image)
    encoder.close()
    return file.getvalue()


def join(pieces: Sequence[bytes], path: pathlib.Path) -> None:
    """Pieces one after another as an ordinary mp4, whole or not at all; nothing is encoded again.

    Raises InputError if there are none, if they differ in size or rate, or if the disk refuses the
    film.
    """
    import av

    if not pieces:
        raise InputError("there are no pieces to join")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as copy:
            write_to = f"file:{copy.absolute()}"
            with av.open(write_to, "w", format="mp4", options={"movflags": "+faststart"}) as film:
                _join(pieces, film)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _join(pieces: Sequence[bytes], film: "av.container.OutputContainer") -> None:
    """All packets of all pieces, each piece's times after those before it."""
    import av

    stream = None
    kind = None
    start = 0
    for number, piece in enumerate(pieces):
        with av.open(io.BytesIO(piece), "r", format="mp4") as source:
            track = source.streams.video[0]
            own = (track.height, track.width, track.average_rate, track.time_base)
            if stream is None:
                stream = film.add_stream_from_template(track)
                kind = own
            if own != kind:
                raise InputError(
                    f"piece {number + 1} has {track.width}×{track.height} at {track.average_rate} "
                    "frames a second, the first one another size or rate: they cannot be joined"
                )
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
            start = stop
