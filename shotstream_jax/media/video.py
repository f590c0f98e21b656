"""Writing a film while it is generated, so that it can be played at any moment of that.

It grows as `NAME.partial.mp4`, every frame a fragment of its own. When it is complete it becomes an
ordinary film of the final name (finish); if it is interrupted it keeps the partial one.

Colours are BT.709 in the limited range, and the file says so. Half of the colour samples are left
out, which is all that browsers and many players show; pictures that are smaller than a screen are
enlarged by a whole number, so that each of their pixels keeps its colour (docs/results.md).
"""

import contextlib
import fractions
import os
import pathlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.media.finish import finish_film
from shotstream_jax.media.formats import FORMATS, LOSSLESS, FilmFormat

if TYPE_CHECKING:  # large: imported when a video is written
    import av

# Codes of ITU-T H.273 and FFmpeg.
_BT709 = 1
_SRGB = 13
_RGB = 0
_LIMITED = 1
_FULL = 2
_FLAGS = "area+accurate_rnd+full_chroma_int"


def partial_path(path: pathlib.Path) -> pathlib.Path:
    """The name of a video that is not complete: NAME.partial.mp4."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class _OpenVideo(NamedTuple):
    """A file that is being written. graph: RGB → the encoder's pixels, if those are others."""

    file: BinaryIO
    container: "av.container.OutputContainer"
    stream: "av.VideoStream"
    graph: "av.filter.Graph | None"


class VideoWriter:
    """A context manager to write frames as they come. Nothing is on disk before the first ones.

    path: its end says the format (formats). scale: how often a pixel is repeated in each direction.
    lossless: RGB to the bit, for data.
    """

    def __init__(self, path: pathlib.Path, fps: int, lossless: bool = False, scale: int = 1):
        self.path = path
        self.partial = partial_path(path)
        self.frames = 0  # written so far
        self._fps = fps
        self._scale = scale
        self._format = LOSSLESS if lossless else FORMATS[path.suffix]
        self._open: _OpenVideo | None = None
        self._good = 0  # bytes of the file that hold complete fragments

    def write(self, frames: np.ndarray) -> None:
        """Appends frames [p, y, x, 3] uint8. All but the last are in the file when this returns.

        Raises InputError if the disk refuses them.
        """
        large = frames.repeat(self._scale, axis=1).repeat(self._scale, axis=2)
        try:
            if self._open is None:
                self._open = self._create(*large.shape[1:3])
            opened = self._open
            for image in large:
                opened.container.mux(opened.stream.encode(self._frame(opened, image)))
                self.frames += 1
            # Whatever comes next, these bytes are whole fragments.
            opened.file.flush()
            self._good = opened.file.tell()
        except OSError as error:
            self._abandon()
            raise self._failed(error) from None

    def facts(self) -> dict[str, Any]:
        """What was written, for a report: path, codec, size in pixels, frames, seconds."""
        facts: dict[str, Any] = {"path": str(self.path), "codec": self._format.codec}
        if self._open is not None:
            facts["height"] = self._open.stream.height
            facts["width"] = self._open.stream.width
        facts["scale"] = self._scale
        facts["frames"] = self.frames
        facts["fps"] = self._fps
        facts["duration_s"] = self.frames / self._fps
        return facts

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is None or self._open.file.closed:
            return
        # Whether all went well or not, what was encoded is completed.
        try:
            # The frame that the encoder still holds.
            self._open.container.mux(self._open.stream.encode())
            self._open.container.close()
            self._open.file.close()
            self._good = self.partial.stat().st_size
            # An interrupted video keeps its partial name.
            if kind is None:
                self._finish()
        except OSError as error:
            self._abandon()
            raise self._failed(error) from value
        if kind is not None:
            logging.info("what was made so far is in %s", self.partial)

    def _finish(self) -> None:
        """Gives the complete film its name."""
        if "movflags" in self._format.options:
            finish_film(self.partial, self.path, self._format.container)
        else:
            os.replace(self.partial, self.path)

    def _create(self, height: int, width: int) -> _OpenVideo:
        """The partial file, and the encoder that writes to it."""
        import av

        # Only now: a run that fails before its first frame leaves nothing behind.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.partial.open("wb")
        form = self._format
        container = av.open(file, "w", format=form.container, options=dict(form.options))
        stream = container.add_stream(form.codec, rate=self._fps, options=dict(form.codec_options))
        assert isinstance(stream, av.VideoStream)
        stream.height = height
        stream.width = width
        stream.pix_fmt = form.pixels
        _tag_colours(stream.codec_context, form)
        graph = None if form.pixels == "rgb24" else _pixel_graph(form.pixels, height, width)
        return _OpenVideo(file, container, stream, graph)

    def _frame(self, opened: _OpenVideo, image: np.ndarray) -> "av.VideoFrame":
        """A picture [y, x, 3] in the encoder's pixels."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = self.frames
        frame.time_base = fractions.Fraction(1, self._fps)
        if opened.graph is None:
            return frame
        opened.graph.vpush(frame)
        converted = opened.graph.vpull()
        converted.pts = frame.pts
        converted.time_base = frame.time_base
        return converted

    def _abandon(self) -> None:
        """Cuts a half-written fragment off, so that what was made can be played."""
        if self._open is None:
            return
        with contextlib.suppress(OSError):
            self._open.file.close()
        with contextlib.suppress(OSError):
            os.truncate(self.partial, self._good)

    def _failed(self, error: OSError) -> InputError:
        return InputError(
            f"cannot go on writing {self.path}: {error.strerror}; "
            f"what was made is in {self.partial}"
        )


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
