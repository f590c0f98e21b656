"""Frames in the terminal: only where it says that it can show them."""

import os
import pathlib
import pty
import subprocess
import sys

import numpy as np
import pytest

from shotstream_jax.media.in_terminal import ROWS, strip

ROOT = pathlib.Path(__file__).parents[2]
ASK = """
import numpy as np
from shotstream_jax.media.in_terminal import strip_codes
codes = strip_codes()
frames = np.full((5, 32, 48, 3), 200, np.uint8)
print("<none>" if codes is None else repr(codes(frames)), flush=True)
"""


def test_a_strip_has_frames_spread_over_the_chunk_and_the_last_one():
    frames = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((32, 48, 3), np.uint8)
    # A frame takes 18 columns: four of them fit beside each other.
    assert strip(frames, columns=80)[0, ::48, 0].tolist() == [0, 4, 7, 11]
    assert strip(frames, columns=20)[0, ::48, 0].tolist() == [11]
    assert strip(frames[:2], columns=1000)[0, ::48, 0].tolist() == [0, 1]
    assert strip(frames, columns=80).shape == (32, 4 * 48, 3) and ROWS == 6


@pytest.mark.parametrize(
    "answer", [b"\x1b[?62;22c", b"\x1b[?64;1;2;14;42c"], ids=["VT220", "numbers with a 4 in them"]
)
def test_a_terminal_without_pictures_gets_nothing_but_the_question(answer):
    screen, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ASK],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    seen = b""
    while b"\x1b[c" not in seen:
        seen += os.read(screen, 1024)
    os.write(screen, answer)
    while b"<none>" not in seen:
        seen += os.read(screen, 1024)
    assert seen.strip() == b"\x1b[c<none>"
    assert process.wait() == 0


def test_a_pipe_is_not_even_asked():
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-kitty"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"<none>\n", b"")
