"""The frames of a small film in memory. Imports neither jax nor what checks signatures with it."""

import io

import numpy as np

from shotstream_jax.core.errors import InputError


def decoded(film: bytes) -> np.ndarray:
    """All frames of a film, such as a chunk file, in their order: uint8 RGB, [p, y, x, 3].

    Raises InputError if it is no film, damaged, or has no frames.
    """
    import av

    try:
        with av.open(io.BytesIO(film), "r", format="mp4") as file:
            pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"the chunk is no film, or damaged ({error}): ask for it again") from None
    if not pictures:
        raise InputError("the chunk has no frames: ask for it again")
    return np.stack(pictures)
