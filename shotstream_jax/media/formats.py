"""The kinds of films that are written, by the ends of their names, and their pictures' size."""

import pathlib
from typing import Any, NamedTuple

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable, check_writable_folder
from shotstream_jax.core.values import as_path

# The muxer's flags for a file that can be played before it ends.
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+frag_every_frame"}
# What a player gets of a Matroska film that is still growing: clusters of a second.
_CLUSTERS = {"cluster_time_limit": "1000"}
# crf 18: visually lossless. zerolatency: no frame waits in the encoder for later ones.
_H264 = {"crf": "18", "preset": "veryfast", "tune": "zerolatency"}
_VP9 = {"crf": "18", "deadline": "realtime", "cpu-used": "6", "row-mt": "1", "lag-in-frames": "0"}

_LONG_SIDE = 512  # pixels that small pictures are enlarged to
_LARGEST_SIDE = 8192


class FilmFormat(NamedTuple):
    """A container, an encoder, its pixels, and the options of both."""

    container: str
    codec: str
    pixels: str
    codec_options: dict[str, str]
    options: dict[str, str]


FORMATS = {
    ".mp4": FilmFormat("mp4", "libx264", "yuv420p", _H264, _FRAGMENTED),
    ".mov": FilmFormat("mov", "libx264", "yuv420p", _H264, _FRAGMENTED),
    ".mkv": FilmFormat("matroska", "libx264", "yuv420p", _H264, _CLUSTERS),
    ".webm": FilmFormat("webm", "libvpx-vp9", "yuv420p", _VP9, _CLUSTERS),
    ".gif": FilmFormat("gif", "gif", "pal8", {}, {}),
}
# RGB to the bit, for data.
LOSSLESS = FilmFormat("mp4", "libx264rgb", "rgb24", {"crf": "0", "preset": "veryfast"}, _FRAGMENTED)


def check_sides(form: FilmFormat, height: int, width: int) -> None:
    """Refuses pictures that a format cannot hold. Raises InputError."""
    # Two by two pixels share a colour.
    is_odd = height % 2 or width % 2
    if form.pixels == "yuv420p" and is_odd:
        raise InputError(
            f"a film of {width}×{height} pixels cannot be written: both sides must be even; "
            "enlarge it by 2"
        )


def film_facts(
    path: str, codec: str, size: tuple[int, int] | None, scale: int, frames: int, fps: int
) -> dict[str, Any]:
    """What was written, for a report: path, codec, size in pixels, frames, seconds.

    size: height and width; None if nothing was written.
    """
    facts: dict[str, Any] = {"path": path, "codec": codec}
    if size is not None:
        facts["height"], facts["width"] = size
    facts["scale"] = scale
    facts["frames"] = frames
    facts["fps"] = fps
    facts["duration_s"] = frames / fps
    return facts


def check_film(name: str | pathlib.Path) -> pathlib.Path:
    """The path of a film to be written, or of a folder of pictures if the name ends in "/".

    Raises InputError if it ends in anything unknown or cannot be written. Leaves nothing behind.
    """
    path = as_path(name, "output")
    is_known = path.suffix in FORMATS
    if str(name).endswith("/"):
        if is_known:
            raise InputError(f"output {name} is a film's name and a folder's: leave the / out")
        folder = check_writable_folder(path, "the pictures")
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"output {name} is not empty: name a new folder")
        return folder
    if not is_known:
        raise InputError(
            f"output {path} must end in {', '.join(FORMATS)}, or in / for a folder of PNG pictures"
        )
    return check_writable(path)


def enlargement(text: str, height: int, width: int) -> int:
    """How often a pixel is repeated in each direction, by the words of --scale.

    text: a whole number, or "auto": the largest power of two with a long side of 512 pixels at
    most, since pixels then fill whole blocks of the encoder.
    Raises InputError.
    """
    long_side = max(height, width)
    if text == "auto":
        most = max(1, _LONG_SIDE // long_side)
        return 1 << (most.bit_length() - 1)
    most = max(1, _LARGEST_SIDE // long_side)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise InputError(f"--scale {text} must be auto or a whole number from 1 to {most}")
    return int(text)
