"""Rushes: all that was made in the order in which it was made, in a film that grows; and its cuts.

The file grows piece by piece (media/pieces) and is whole after each, so that a player can follow
it. A story that goes back and on again is another choice of spans of the same file, which
`cut_film` copies into an ordinary film without encoding anything again.
"""

import os
import pathlib
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import whole
from shotstream_jax.media.formats import FORMATS, film_facts
from shotstream_jax.media.pieces import chunk_file

if TYPE_CHECKING:  # large: imported when a film is cut
    import av

_HEADER = 8  # bytes: a box begins with its length and its name
_FULL_HEADER = 12  # some boxes go on with a version and flags


class FrameSpan(NamedTuple):
    """Frames of the rushes: from `start` on, without `stop`."""

    start: int
    stop: int


class Rushes:
    """Writes frames to a film that holds all of them after each call. Nothing is there before.

    path: an mp4. scale: how often a pixel is repeated in each direction (formats.enlargement).
    """

    def __init__(self, path: pathlib.Path, fps: int, scale: int = 1):
        self.path = path
        self.frames = 0  # written so far
        self.size: tuple[int, int] | None = None  # height and width of the film in pixels
        self._fps = fps
        self._scale = scale
        self._file: BinaryIO | None = None
        self._fragments = 0

    def write(self, frames: np.ndarray) -> None:
        """Appends frames [p, y, x, 3] uint8, which begin with a picture that needs no other one.

        Raises InputError if the disk refuses them; what was written before stays whole.
        """
        piece = chunk_file(frames, self._fps, self._scale)
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("wb")
            good = self._file.tell()
            try:
                self._file.write(self._later(piece))
                self._file.flush()
            except OSError:
                os.truncate(self.path, good)
                raise
        except OSError as error:
            raise InputError(
                f"cannot go on writing {self.path}: {error.strerror}; what was made is there"
            ) from None
        self.frames += len(frames)
        self.size = (frames.shape[1] * self._scale, frames.shape[2] * self._scale)

    def close(self) -> None:
        """Ends the file, which is whole."""
        if self._file is not None:
            self._file.close()

    def facts(self, path: pathlib.Path, frames: int) -> dict[str, Any]:
        """What was cut from it, for a report (formats.film_facts)."""
        codec = FORMATS[".mp4"].codec
        return film_facts(str(path), codec, self.size, self._scale, frames, self._fps)

    def _later(self, piece: bytes) -> bytes:
        """A piece's boxes as they follow what is there: times and numbers of fragments go on."""
        boxes = list(_boxes(piece))
        moov = next(content for name, content in boxes if name == b"moov")
        start = self.frames * _timescale(moov) // self._fps
        later = []
        for name, content in boxes:
            # The header once; an index of a piece means nothing in the whole.
            is_header = name in (b"ftyp", b"moov")
            if name == b"mfra" or (is_header and self.frames):
                continue
            if name == b"moof":
                self._fragments += 1
                content = _moved(content, self._fragments, start)
            later.append(struct.pack(">I", _HEADER + len(content)) + name + content)
        return b"".join(later)


def cut_film(rushes: pathlib.Path, spans: Sequence[FrameSpan], path: pathlib.Path) -> None:
    """Some frames of the rushes as an ordinary mp4, whole or not at all; nothing is encoded again.

    spans: in order, each beginning where a piece begins. Raises InputError if the disk refuses it.
    """
    import av

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as copy:
            # As files, whatever their names look like.
            read_from = f"file:{rushes.absolute()}"
            write_to = f"file:{copy.absolute()}"
            options = {"movflags": "+faststart"}
            with (
                av.open(read_from, "r", format="mp4") as old,
                av.open(write_to, "w", format="mp4", options=options) as new,
            ):
                _copy_spans(old, spans, new)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def _copy_spans(
    old: "av.container.InputContainer",
    spans: Sequence[FrameSpan],
    new: "av.container.OutputContainer",
) -> None:
    """The packets of some frames, one after the other without gaps."""
    track = old.streams.video[0]
    stream = new.add_stream_from_template(track)
    rest = list(spans)
    left_out = 0  # units of time
    number = 0
    for packet in old.demux(track):
        # The last one only marks the end.
        if packet.dts is None or packet.pts is None:
            continue
        while rest and number >= rest[0].stop:
            rest.pop(0)
        if not rest:
            break
        if number >= rest[0].start:
            packet.dts -= left_out
            packet.pts -= left_out
            packet.stream = stream
            new.mux(packet)
        else:
            left_out += packet.duration or 0
        number += 1


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box, one after the other."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + _HEADER], data[at + _HEADER : at + length]
        at += length


def _inside(data: bytes, *names: bytes) -> int:
    """Where the content of a box in boxes in … begins."""
    start = 0
    stop = len(data)
    for name in names:
        at = start
        while data[at + 4 : at + _HEADER] != name:
            at += struct.unpack_from(">I", data, at)[0]
            assert at < stop, f"no box {name!r}"
        stop = at + struct.unpack_from(">I", data, at)[0]
        start = at + _HEADER
    return start


def _timescale(moov: bytes) -> int:
    """Units of time a second of the film's track."""
    at = _inside(moov, b"trak", b"mdia", b"mdhd")
    # Two times come before it, of 32 or, in the box's version 1, 64 bits.
    times = 16 if moov[at] else 8
    return struct.unpack_from(">I", moov, at + _FULL_HEADER - _HEADER + times)[0]


def _moved(moof: bytes, number: int, start: int) -> bytes:
    """A fragment's description with its number in the file and a later time."""
    moved = bytearray(moof)
    flags = _FULL_HEADER - _HEADER
    struct.pack_into(">I", moved, _inside(moof, b"mfhd") + flags, number)
    time = _inside(moof, b"traf", b"tfdt")
    form = ">Q" if moof[time] else ">I"
    (own,) = struct.unpack_from(form, moof, time + flags)
    struct.pack_into(form, moved, time + flags, own + start)
    return bytes(moved)
