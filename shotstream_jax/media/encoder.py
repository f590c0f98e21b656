"""Pictures → the encoded frames of a film, in a file that grows.

Colours are BT.709 in the limited range, and the file says so. Half of the colour samples are left
out, which is all that browsers and many players show.
"""

import fractions
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from shotstream_jax.core.typing import UInt8
from shotstream_jax.media.formats import FilmFormat

if TYPE_CHECKING:  # large: imported when a video is written
    import av

# Codes of ITU-T H.273 and FFmpeg.
_BT709 = 1
_SRGB = 13
_RGB = 0
_LIMITED = 1
_FULL = 2
_FLAGS = "area+accurate_rnd+full_chroma_int"


class FilmEncoder:
    """An encoder and its container, which write to an open file.

    frames: how many there are so far. height, width: of the pictures, in pixels.
    """

    def __init__(self, file: BinaryIO, form: FilmFormat, height: int, width: int, fps: int):
        import av

        self.height = height
        self.width = width
        self.frames = 0
        self._fps = fps
        self._container = av.open(file, "w", format=form.container, options=dict(form.options))
        options = dict(form.codec_options)
        stream = self._container.add_stream(form.codec, rate=fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height = height
        stream.width = width
        stream.pix_fmt = form.pixels
        _tag_colours(stream.codec_context, form)
        self._stream = stream
        # RGB → the encoder's pixels, if those are others.
        self._graph = None
        if form.pixels != "rgb24":
            self._graph = _pixel_graph(form.pixels, height, width)

    def add(self, image: UInt8[np.ndarray, "y x 3"]) -> None:
        """Appends a picture. Raises OSError if the file refuses it."""
        self._container.mux(self._stream.encode(self._frame(image)))
        self.frames += 1

    def close(self) -> None:
        """Writes the frame that the encoder still holds, and the container's end."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def _frame(self, image: np.ndarray) -> "av.VideoFrame":
        """A picture in the encoder's pixels."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = self.frames
        frame.time_base = fractions.Fraction(1, self._fps)
        if self._graph is None:
            return frame
        self._graph.vpush(frame)
        converted = self._graph.vpull()
        converted.pts = frame.pts
        converted.time_base = frame.time_base
        return converted


def enlarged(
    frames: UInt8[np.ndarray, "p y x 3"], scale: int
) -> UInt8[np.ndarray, "p large_y large_x 3"]:
    """Frames whose pixels are repeated so often in each direction."""
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


def _tag_colours(context: "av.VideoCodecContext", form: FilmFormat) -> None:
    """Says in the film which colours its numbers stand for."""
    if form.pixels == "pal8":
        return
    is_rgb = form.pixels == "rgb24"
    context.color_primaries = _BT709
    context.color_trc = _SRGB if is_rgb else _BT709
    context.colorspace = _RGB if is_rgb else _BT709
    context.color_range = _FULL if is_rgb else _LIMITED


def _pixel_graph(pixels: str, height: int, width: int) -> "av.filter.Graph":
    """RGB frames → BT.709's Y′CbCr in the limited range, or 256 colours of the frame's own."""
    import av

    graph = av.filter.Graph()
    rgb = av.VideoFormat("rgb24")
    source = graph.add_buffer(
        width=width, height=height, format=rgb, time_base=fractions.Fraction(1, 1000)
    )
    sink = graph.add("buffersink")
    if pixels == "pal8":
        # A copy of each frame chooses the colours that the frame is then drawn in.
        split = graph.add("split")
        choose = graph.add("palettegen", stats_mode="single")
        use = graph.add("paletteuse", new="1")
        source.link_to(split)
        split.link_to(choose, 0, 0)
        split.link_to(use, 1, 0)
        choose.link_to(use, 0, 1)
        use.link_to(sink)
    else:
        scale = graph.add("scale", flags=_FLAGS, out_color_matrix="bt709", out_range="limited")
        graph.link_nodes(source, scale, graph.add("format", pixels), sink)
    graph.configure()
    return graph
