"""Frames in the terminal itself, where it can show pictures: Sixel or kitty's protocol.

The extra `terminal` (textual-image) knows both. A terminal is only asked, and only gets such codes,
if it can be nothing but one that has them; all others are left alone.
"""

import contextlib
import io
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Callable
from typing import Any

import numpy as np

ROWS = 6  # of the terminal, that a strip of frames takes
_CELL = 2  # a character is about twice as high as it is wide
_ATTRIBUTES = b"\x1b[c"  # asks for what the terminal can do; even a VT100 answers
_SIXEL = b"4"
_PATIENCE = 0.3  # seconds for an answer
_KITTY = ("kitty", "ghostty")  # in TERM
_SIXEL_CODES = ("\x1bP", "\x1b\\")  # around a picture


def strip_codes() -> Callable[[np.ndarray], str] | None:
    """What turns some of the frames [p, y, x, 3] uint8 into the codes that paint them.

    From the cursor on, over ROWS rows. None if the terminal cannot, or without the extra. To be
    called before lines are read: the terminal's answer comes as if it were typed.
    """
    is_kitty = any(name in os.environ.get("TERM", "") for name in _KITTY)
    if not sys.stderr.isatty() or not (is_kitty or _has_sixel()):
        return None
    try:
        from PIL import Image
        from textual_image import renderable
    except ImportError:
        return None
    kinds: tuple[Any, ...] = (renderable.SixelImage, renderable.TGPImage)
    if renderable.Image not in kinds:
        return None

    def codes(frames: np.ndarray) -> str:
        """Frames side by side, as many as the terminal is wide."""
        picture = Image.fromarray(strip(frames, shutil.get_terminal_size().columns))
        return _codes(renderable.Image(picture, width="auto", height=ROWS))

    return codes


def strip(frames: np.ndarray, columns: int) -> np.ndarray:
    """Some frames of [p, y, x, 3] side by side, spread over all, the last one with them."""
    count, height, width = frames.shape[:3]
    frame_columns = max(1, round(ROWS * _CELL * width / height))
    most = min(count, max(1, (columns - 1) // frame_columns))
    chosen = np.linspace(count - 1, 0, most).round().astype(int)[::-1]
    return np.concatenate(frames[chosen], axis=1)


def _codes(picture: Any) -> str:
    """What a terminal is sent for a picture, without the codes that make room for it."""
    from rich.console import Console

    written = io.StringIO()
    columns = shutil.get_terminal_size().columns
    Console(file=written, force_terminal=True, width=columns).print(picture)
    text = written.getvalue()
    begin, end = _SIXEL_CODES
    if begin in text:
        return text[text.index(begin) : text.rindex(end) + len(end)]
    return text.rstrip("\n").replace("\n", "\r\n")


def _has_sixel() -> bool:
    """Whether the terminal says that it can show Sixel pictures."""
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    answer = b""
    with contextlib.suppress(OSError):
        try:
            # The answer is to be read at once, and not to be seen.
            tty.setcbreak(keys)
            os.write(sys.stdout.fileno(), _ATTRIBUTES)
            while not answer.endswith(b"c") and select.select([keys], [], [], _PATIENCE)[0]:
                answer += os.read(keys, 1)
        finally:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
    return _SIXEL in answer.removeprefix(b"\x1b[?").removesuffix(b"c").split(b";")
