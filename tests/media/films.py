"""Films of all kinds for tests: patches of known colours, and grey pictures that carry a number."""

import fractions
import pathlib
import struct

import av
import numpy as np

HEIGHT, WIDTH = 64, 96
COLOURS = np.array(
    [
        [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)],
        [(0, 255, 255), (255, 0, 255), (255, 255, 255), (0, 0, 0)],
        [(128, 128, 128), (200, 120, 80), (90, 160, 60), (60, 90, 170)],
    ],
    np.uint8,
)
# Kr and Kb of the matrices, by their codes.
_WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}


def patches(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Three rows of four patches, uint8."""
    rows = np.arange(height) * 3 // height
    columns = np.arange(width) * 4 // width
    return COLOURS[rows][:, columns]


def centres(picture: np.ndarray) -> np.ndarray:
    """The colours in the middle of each patch, [3, 4, 3]."""
    height, width = picture.shape[:2]
    rows = (np.arange(3) * 2 + 1) * height // 6
    columns = (np.arange(4) * 2 + 1) * width // 8
    return picture[rows][:, columns].astype(int)


def numbered(count: int, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Grey pictures, each brighter than the one before."""
    return [np.full((height, width, 3), 10 + 5 * n, np.uint8) for n in range(count)]


def numbers(pictures: np.ndarray) -> list[int]:
    """Which of `numbered` these are."""
    return np.round((pictures.mean((1, 2, 3)) - 10) / 5).astype(int).tolist()


def planes(rgb: np.ndarray, matrix: int, is_full: bool, bits: int = 8) -> np.ndarray:
    """RGB [y, x, 3] from 0 to 1 → Y′CbCr planes [3, y, x], by the definition (ITU-T H.273)."""
    red, blue = _WEIGHTS[matrix]
    y = rgb @ np.array([red, 1 - red - blue, blue])
    cb = (rgb[..., 2] - y) / (2 - 2 * blue)
    cr = (rgb[..., 0] - y) / (2 - 2 * red)
    step = 2 ** (bits - 8)
    if is_full:
        most = 2**bits - 1
        codes = [most * y, most * cb + 128 * step, most * cr + 128 * step]
    else:
        codes = [219 * step * y + 16 * step, *(step * (224 * c + 128) for c in (cb, cr))]
    kind = np.uint8 if bits == 8 else np.uint16
    return np.clip(np.round(codes), 0, 2**bits - 1).astype(kind)


def write(
    path: pathlib.Path,
    pictures: list[np.ndarray],
    given: str = "rgb24",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    tags: dict[str, int] | None = None,
    aspect: fractions.Fraction | None = None,
    fps: int = 16,
) -> pathlib.Path:
    """A film of pictures. given: the format that the arrays are in. tags: of the stream's codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        first = _frame(pictures[0], given)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, pixels
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, picture in enumerate(pictures):
            frame = _frame(picture, given)
            frame.pts, frame.time_base = number, fractions.Fraction(1, fps)
            if tags and pixels == given:
                frame.colorspace, frame.color_range = tags["colorspace"], tags["color_range"]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _frame(picture: np.ndarray, given: str) -> av.VideoFrame:
    """A frame of a picture [y, x, n], or of planes [3, y, x]."""
    if not given.startswith("yuv444p"):
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=given)
    _, height, width = picture.shape
    frame = av.VideoFrame(width, height, given)
    for plane, values in zip(frame.planes, picture, strict=True):
        rows = np.zeros((height, plane.line_size), np.uint8)
        rows[:, : width * values.itemsize] = np.ascontiguousarray(values).view(np.uint8)
        plane.update(rows.tobytes())
    return frame


def turn(path: pathlib.Path, a: int, b: int, c: int, d: int) -> pathlib.Path:
    """Puts a display matrix into an mp4's track header."""
    one = 2**16
    data = bytearray(path.read_bytes())
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 2**30)
    at = data.index(plain, data.index(b"tkhd"))
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 2**30)
    data[at : at + 36] = matrix
    path.write_bytes(data)
    return path
