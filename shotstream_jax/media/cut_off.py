"""Whether a film's file ends before its own header says: what FFmpeg does not always report."""

import os
import pathlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # large: imported when a file is opened
    import av

_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"  # the element that holds everything
_UNKNOWN = 2**56 - 1  # the length of a segment that is still growing


def is_cut_off(path: pathlib.Path, stream: "av.VideoStream") -> bool:
    """Whether bytes of the stream lie beyond the file's end, as far as the format tells."""
    size = os.path.getsize(path)
    with path.open("rb") as file:
        start = file.read(4096)
    # An AVI's or a Matroska's outermost length.
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return 8 + struct.unpack("<I", start[4:8])[0] > size
    at = start.find(_MATROSKA_SEGMENT)
    if start[:4] == b"\x1a\x45\xdf\xa3" and at >= 0:
        return _matroska_end(start, at + len(_MATROSKA_SEGMENT)) > size
    # The places of an mp4's samples.
    ends = [entry.pos + entry.size for entry in stream.index_entries]
    return max(ends, default=0) > size


def _matroska_end(start: bytes, at: int) -> int:
    """Where an element ends whose length stands at `at`; 0 if it does not say."""
    if at >= len(start) or not start[at]:
        return 0
    # The first byte's leading zeros say how many bytes follow it.
    more = 8 - start[at].bit_length()
    stop = at + 1 + more
    length = int.from_bytes(start[at:stop], "big") - (1 << 7 * (more + 1))
    if length == (1 << 7 * (more + 1)) - 1:
        return 0
    return stop + length
