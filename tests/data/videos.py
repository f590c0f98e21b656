"""Small videos for tests."""

import fractions
import pathlib

import av
import numpy as np


def write_video(
    path: pathlib.Path, frames: int, height: int = 24, width: int = 40, fps: int = 16
) -> pathlib.Path:
    """Colours that change over the picture and with time.

    The file's index comes first, so that a part of the file can be opened.
    """
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": "10", "preset": "veryfast"}
        )
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for n in range(frames):
            channels = (255 * y / height, 255 * x / width, 0 * x + 255 * n / frames)
            picture = np.stack(channels, axis=-1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = n, fractions.Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
