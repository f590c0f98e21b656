"""The frames of a small film in memory. Imports neither jax nor what checks signatures with it."""

import io

import numpy as np

from shotstream_jax.core.errors import InputError

MOST_PIXELS = 1 << 24  # of a picture of a chunk file; more is no film of ours
# What refuses larger pictures, whatever the file says of itself: to be given when it is opened, for
# FFmpeg then decodes some, and to its decoder.
BOUND = {"max_pixels": str(MOST_PIXELS)}


def decoded(film: bytes) -> np.ndarray:
    """All frames of a film, such as a chunk file, in their order: uint8 RGB, [p, y, x, 3].

    Raises InputError if it is no film, damaged, or has no frames, or too large ones.
    """
    import av

    try:
        with av.open(io.BytesIO(film), "r", format="mp4", options=BOUND) as file:
            file.streams.video[0].codec_context.options = BOUND
            pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"the chunk is no film, or damaged ({error}): ask for it again") from None
    if not pictures:
        raise InputError("the chunk has no frames: ask for it again")
    return np.stack(pictures)
