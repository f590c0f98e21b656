"""A contact sheet: shots as rows, time from left to right."""

import fractions
import pathlib
from collections.abc import Sequence

import av
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import UInt8, typechecked
from shotstream_jax.world.render import Film

_GAP, _PAPER = 2, 255


@typechecked
def contact_sheet(
    films: Sequence[Film], columns: int = 6, enlarge: int = 1
) -> UInt8[np.ndarray, "y x 3"]:
    """The shots of films of one size under each other, in so many moments; a wider gap parts the stories.

    enlarge: how often a pixel is repeated in each direction.
    """
    rows = []
    for film in films:
        for first, stop in film.story.intervals:
            moments = np.linspace(first, stop - 1, columns).round().astype(int)
            pictures = film.frames[moments].repeat(enlarge, axis=1).repeat(enlarge, axis=2)
            rows.append(
                np.concatenate(
                    [
                        np.pad(p, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_PAPER)
                        for p in pictures
                    ],
                    1,
                )
            )
        rows.append(np.full((3 * _GAP, rows[0].shape[1], 3), _PAPER, np.uint8))
    return np.concatenate(rows[:-1])


@typechecked
def write_png(path: pathlib.Path, picture: UInt8[np.ndarray, "y x 3"]) -> None:
    """Raises InputError if the file cannot be written."""
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width, codec.pix_fmt = *picture.shape[:2], "rgb24"
    codec.time_base = fractions.Fraction(1, 1)
    packets = codec.encode(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    )
    data = b"".join(bytes(packet) for packet in [*packets, *codec.encode(None)])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None
