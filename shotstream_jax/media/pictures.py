"""Still pictures as PNG files."""

import fractions
import pathlib

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import UInt8, typechecked


@typechecked
def write_png(path: pathlib.Path, picture: UInt8[np.ndarray, "y x 3"]) -> None:
    """Writes an RGB picture, whole or not at all, and makes its folder.

    Raises InputError if that fails.
    """
    data = _encode_png(picture)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None


def _encode_png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    import av  # large: imported where pictures and videos are written or read

    height, width = picture.shape[:2]
    codec = av.VideoCodecContext.create("png", "w")
    codec.height = height
    codec.width = width
    codec.pix_fmt = "rgb24"
    codec.time_base = fractions.Fraction(1, 1)  # unused in a still picture, but required

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    packets = codec.encode(frame)
    packets += codec.encode(None)  # what the encoder still holds
    return b"".join(bytes(packet) for packet in packets)
