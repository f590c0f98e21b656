"""A decoded frame → the picture that a player shows of it, fitted to a size.

    interlaced fields → whole frames (each field's lines are interpolated)
    matrix and range of the colours; a film that does not say is BT.709 if it is HD, else BT.601
    alpha: over black
    pixels that are not square (the container's aspect, else the frame's own)
    high dynamic range (hdr)
    turned and mirrored by the display matrix

The first four are done by FFmpeg's filters, whose options say everything: PyAV's own conversions
guess differently from version to version.
"""

import fractions
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import UInt8
from shotstream_jax.media.hdr import HLG, PQ, tone_mapped

if TYPE_CHECKING:  # large: imported when a file is opened
    import av

# Codes of ITU-T H.273 → the scale filter's names of matrices.
_MATRICES = {
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    9: "bt2020",
    10: "bt2020",
}
_UNSAID = (0, 2, 3)
_FULL_RANGE = 2  # FFmpeg's code
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_BT709 = 1
_HD_WIDTH, _HD_HEIGHT = 1280, 577  # from these sizes on a film is HD
# Codecs whose standards say that a picture without a word on its range has the limited one.
_LIMITED_GRAY = ("h264", "hevc", "vvc", "mpeg2video", "mpeg4")


class Turn(NamedTuple):
    """What a display matrix does: first rows and columns change places, then sides do."""

    transposed: bool = False
    left_right: bool = False
    up_down: bool = False

    def stored(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before the turn of a picture that is shown at these."""
        return (width, height) if self.transposed else (height, width)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """A picture [y, x, 3], turned."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        if self.left_right:
            picture = picture[:, ::-1]
        if self.up_down:
            picture = picture[::-1]
        return picture


# By degrees against the clock.
_ROTATIONS = {
    90: Turn(True, up_down=True),
    180: Turn(left_right=True, up_down=True),
    270: Turn(True, left_right=True),
}


def read_turn(matrix: bytes) -> Turn:
    """The turn of a display matrix: nine numbers of 32 bits, in the machine's order.

    A stored point (x, y) is shown at (a·x + c·y, b·x + d·y). Of turns by other angles the nearest
    right angle is taken.
    """
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(np.int64).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, left_right=a < 0, up_down=d < 0)
    return Turn(True, left_right=c < 0, up_down=b < 0)


def _turn_of(frame: "av.VideoFrame") -> Turn:
    """The turn of a frame's display matrix."""
    try:
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV refuses all of a frame's side data if a kind is there that it does not know, as EXIF.
        return _ROTATIONS.get(round(frame.rotation) % 360, Turn())
    return Turn() if matrix is None else read_turn(bytes(matrix))


class _Kind(NamedTuple):
    """What a frame's way to a picture depends on; frames of one kind share a filter graph."""

    pixels: str
    width: int
    height: int
    matrix: int
    range: int
    is_interlaced: bool
    aspect: fractions.Fraction
    turn: Turn


class Screen:
    """Shows a stream's frames at one size: scaled until they cover it, the centre cut out."""

    def __init__(self, name: str, stream: "av.VideoStream", height: int, width: int):
        """name: of the film, for errors."""
        self._name = name
        self._size = (height, width)
        context = stream.codec_context
        self._context = context
        self._codec = context.name
        self._time_base = stream.time_base
        self._transfer = int(context.color_trc)
        self._is_wide = int(context.color_primaries) != _BT709
        # The container's aspect of a pixel, where it has another one, overrides the pictures' own.
        self._aspect = stream.sample_aspect_ratio or fractions.Fraction(1)
        self._is_own = stream.sample_aspect_ratio == context.sample_aspect_ratio
        self._kind: _Kind | None = None
        self._graph: av.filter.Graph | None = None

    def notice(self, frame: "av.VideoFrame") -> None:
        """Keeps the aspect that holds from this frame on: for every frame, shown or not."""
        # The decoder is some frames ahead; a new aspect begins with a key frame.
        if self._is_own and frame.key_frame:
            self._aspect = self._context.sample_aspect_ratio or fractions.Fraction(1)

    def own_size(self, frame: "av.VideoFrame") -> tuple[int, int]:
        """Height and width at which a player shows a frame, in square pixels."""
        kind = self._kind_of(frame)
        return kind.turn.stored(kind.height, round(kind.width * kind.aspect))

    def show(self, frame: "av.VideoFrame") -> UInt8[np.ndarray, "y x 3"]:
        """The picture of a frame. Raises InputError if its colours are of an unknown kind."""
        # Sizes and colours may change within a film.
        kind = self._kind_of(frame)
        if self._graph is None or kind != self._kind:
            self._graph = self._make_graph(kind)
            self._kind = kind
        self._graph.vpush(frame)
        if kind.is_interlaced:
            # The filter waits for a next frame; by its end it is told that there is none.
            self._graph.vpush(None)
        scaled = self._graph.vpull().to_ndarray()
        if kind.is_interlaced:
            self._graph = None
        if self._transfer in (PQ, HLG):
            scaled = tone_mapped(scaled, self._transfer, self._is_wide)
        # The centre of the side that is too long, the right way up.
        height, width = kind.turn.stored(*self._size)
        top = (scaled.shape[0] - height) // 2
        left = (scaled.shape[1] - width) // 2
        return kind.turn.apply(scaled[top : top + height, left : left + width])

    def _kind_of(self, frame: "av.VideoFrame") -> _Kind:
        return _Kind(
            pixels=frame.format.name,
            width=frame.width,
            height=frame.height,
            matrix=int(frame.colorspace),
            range=int(frame.color_range),
            is_interlaced=bool(frame.interlaced_frame),
            aspect=self._aspect,
            turn=_turn_of(frame),
        )

    def _make_graph(self, kind: _Kind) -> "av.filter.Graph":
        """The filters that make a picture of at least the size from frames of a kind."""
        import av

        pixels = av.VideoFormat(kind.pixels)
        has_alpha = pixels.has_palette or any(part.is_alpha for part in pixels.components)
        is_hdr = self._transfer in (PQ, HLG)
        graph = av.filter.Graph()
        nodes = [
            graph.add_buffer(
                width=kind.width,
                height=kind.height,
                format=pixels,
                time_base=self._time_base or fractions.Fraction(1, 1000),
            )
        ]
        # 1. Fields → frames.
        if kind.is_interlaced:
            nodes.append(graph.add("estdif", mode="frame", deint="all"))
        # 2. Colours → RGB; those beneath alpha fade to black before neighbours are mixed.
        colours = self._colour_options(kind, pixels)
        if has_alpha:
            nodes.append(graph.add("scale", **colours))
            nodes.append(graph.add("format", "gbrap16le"))
            nodes.append(graph.add("premultiply", inplace="1"))
            colours = {"flags": _FLAGS}
        # 3. The size.
        nodes.append(graph.add("scale", **(colours | self._size_options(kind))))
        nodes.append(graph.add("format", "rgb48le" if is_hdr else "rgb24"))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph

    def _size_options(self, kind: _Kind) -> dict[str, str]:
        """The scale filter's size: it covers what is wanted, in pixels that are square."""
        height, width = kind.turn.stored(*self._size)
        shown_width = float(kind.width * kind.aspect)
        scale = max(height / kind.height, width / shown_width)
        # Rounding must not leave a side too short.
        scaled_height = max(height, round(kind.height * scale))
        scaled_width = max(width, round(shown_width * scale))
        options = {"h": str(scaled_height), "w": str(scaled_width)}
        # Pictures that were enlarged by a whole number get their pixels back as they were.
        is_whole = not kind.height % scaled_height and not kind.width % scaled_width
        if is_whole and kind.height > scaled_height:
            options["flags"] = _FLAGS.replace("bicubic", "area")
        return options

    def _colour_options(self, kind: _Kind, pixels: "av.VideoFormat") -> dict[str, str]:
        """The scale filter's options for these colours."""
        options = {"flags": _FLAGS}
        if pixels.is_rgb or pixels.has_palette:
            return options
        is_gray = len(pixels.components) <= 2  # one, or one and alpha
        is_full = kind.range == _FULL_RANGE or kind.pixels.startswith("yuvj")
        if is_gray and not kind.range:
            is_full = self._codec not in _LIMITED_GRAY
        options["in_range"] = "full" if is_full else "limited"
        options["out_range"] = "full"
        if not is_gray:
            options["in_color_matrix"] = self._matrix(kind)
        return options

    def _matrix(self, kind: _Kind) -> str:
        """The name of the colours' matrix; a guess by the size if the film does not say."""
        if kind.matrix in _MATRICES:
            return _MATRICES[kind.matrix]
        if kind.matrix not in _UNSAID:
            raise InputError(
                f"video {self._name} has colours of matrix {kind.matrix} (ITU-T H.273), which "
                "cannot be shown: convert it to BT.709"
            )
        if self._transfer in (PQ, HLG):
            return "bt2020"
        is_hd = kind.width >= _HD_WIDTH or kind.height >= _HD_HEIGHT
        return "bt709" if is_hd else "bt601"
