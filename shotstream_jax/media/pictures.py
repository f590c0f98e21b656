"""Still pictures as PNG and WebP files."""

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


@typechecked
def webp_bytes(picture: UInt8[np.ndarray, "y x 3"]) -> bytes:
    """A picture as a WebP file, which is small; its colours are coarser than its brightness."""
    return _encode(picture, "libwebp", "yuv420p", {"quality": "90"})


def _encode_png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    return _encode(picture, "png", "rgb24", {})


def _encode(picture: np.ndarray, codec: str, pixels: str, options: dict[str, str]) -> bytes:
    """The bytes of a picture's file."""
    import av  # large: imported where pictures and videos are written or read

    height, width = picture.shape[:2]
    encoder = av.VideoCodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height = height
    encoder.width = width
    encoder.pix_fmt = pixels
    encoder.options = options
    encoder.time_base = fractions.Fraction(1, 1)  # unused in a still picture, but required

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    packets = encoder.encode(frame.reformat(format=pixels))
    packets += encoder.encode(None)  # what the encoder still holds
    return b"".join(bytes(packet) for packet in packets)
