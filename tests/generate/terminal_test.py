"""The storyteller at a real terminal (a pseudo-terminal): editing, typing ahead, Ctrl-C."""

import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import time

import av
import pytest

from tests.compilation import FAST_COMPILATION

ROOT = pathlib.Path(__file__).parents[2]
PATIENCE = 120.0  # seconds until a test gives up
COMMAND = [
    *(sys.executable, "-m", "shotstream_jax", "generate", "--prompts", "-"),
    *("--config.video.shot_frames=150", "--global-caption", "A cartoon."),
    *("--save-story", "kept", "--out", "film.mp4"),
]

# A program's standard input becomes the terminal of its session, whose keys send signals.
TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Person:
    """Someone who sits at a terminal in which a program runs."""

    def __init__(self, command, folder, **environment):
        screen, end = pty.openpty()
        self._keys = screen
        self._seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            cwd=folder,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "XLA_FLAGS": FAST_COMPILATION}
            | environment,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)

    def types(self, text: str) -> None:
        os.write(self._keys, text.encode())

    def sees(self, text: str) -> str:
        """Waits for a text; gives all that was new until then."""
        stop = time.monotonic() + PATIENCE
        while text not in self._seen:
            ready, _, _ = select.select([self._keys], [], [], max(0, stop - time.monotonic()))
            assert ready, f"{text!r} did not come, but {self._seen!r}"
            try:
                self._seen += os.read(self._keys, 65536).decode(errors="replace")
            except OSError:
                pytest.fail(f"it ended before {text!r}: {self._seen!r}")
        new, self._seen = self._seen.split(text, 1)
        return new + text

    def leaves(self) -> str:
        """Waits for the program's end; gives what was new until then."""
        while True:
            try:
                data = os.read(self._keys, 65536)
            except OSError:
                data = b""
            if not data:
                return self._seen
            self._seen += data.decode(errors="replace")


def test_a_person_tells_a_story(tmp_path):
    person = Person(COMMAND, tmp_path, XDG_STATE_HOME=str(tmp_path / "state"))
    person.sees("> ")
    # Words and commands are completed; a mistake is told and costs nothing.
    person.types("The frog is danci\t in the mea\t.\n")
    person.sees("shot 1: The frog is dancing in the meadow.")
    # Typed while the shot is being made; an unknown word is named before its shot begins.
    person.types("The fox is kooking\x7f\x7f\x7f\x7f\x7f\x7f\x7fcooking.\n")
    seen = person.sees("this caption has words that the vocabulary lacks: cooking")
    seen += person.sees("> ")  # the line is in
    assert "shot 2:" not in seen
    # Ctrl-C ends the running shot, keeps it, and leaves out what waits.
    person.types("\x03")
    person.sees("left out: The fox is cooking.")
    frames = int(re.search(r"shot 1 has (\d+) frames", person.sees(" frames"))[1])
    assert 0 < frames < 500
    person.types("/tkae\n")
    person.sees("there is no /tkae: /take?")
    person.sees("> ")
    # The line before is a key away.
    person.types("\x1b[A\x7f\x7f\x7fake\n")
    person.sees("shot 1, take 2: The frog is dancing in the meadow.")
    person.types("/cut\n/undo\n/quit\n")
    person.sees("the story has 1 shot now")
    assert "film.mp4 has the story as it stands" in person.leaves()
    assert person.process.wait() == 0
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].frames == frames
    history = (tmp_path / "state/shotstream/history").read_text().splitlines()
    assert history[-3:] == ["/cut", "/undo", "/quit"]
