"""Standard streams that are closed, full, of another encoding or read by nobody.

Each is one line at most and exit code 2, never a traceback.
"""

import os
import pathlib
import subprocess
import sys

import pytest

from shotstream_jax import cli
from shotstream_jax.core import devices

ROOT = pathlib.Path(__file__).parents[2]


def shotstream(command: str, **environment: str) -> tuple[int, str, str]:
    """`command` in a shell, with a function `shotstream` → exit code, output, messages."""
    program = f'shotstream() {{ "{sys.executable}" -m shotstream_jax "$@"; }}; {command}'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "command, message",
    [
        ("shotstream --help >&-", "standard output is closed"),
        ("shotstream --version > /dev/full", "No space left on device"),
        ("shotstream --help | true", "was to read the output has ended"),
        ("shotstream generate --prompts - --out /tmp/x.mp4 <&-", "standard input is closed"),
    ],
)
def test_an_unusual_stream_is_one_line(command, message):
    code, out, err = shotstream(command)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_messages_to_a_closed_screen_harm_nobody():
    assert shotstream("shotstream --bogus 2>&-") == (2, "", "")
    # What is opened next does not get the screen's number.
    probe = "import os; from shotstream_jax.core import terminal; terminal.prepare_streams()"
    probe += "; print(os.open(os.devnull, os.O_RDONLY) > 2)"
    assert shotstream(f"\"{sys.executable}\" -c '{probe}' 2>&- <&-")[:2] == (0, "True\n")


@pytest.mark.parametrize(
    "command, encoding",
    [("--help", "ascii"), ("--help", "latin-1"), ("generate --help", "ascii")],
)
def test_help_in_any_encoding(command, encoding):
    code, out, _ = shotstream(f"shotstream {command} | iconv -f latin1", PYTHONIOENCODING=encoding)
    assert code == 0 and "usage: shotstream" in out and "\\u" not in out


def test_a_platform_that_is_not_there_is_one_line(tmp_path):
    story = ROOT / "examples" / "tiny" / "story.json"
    command = f"shotstream generate --story {story} --out {tmp_path}/x.mp4"
    for platform in ("cuda", "abacus"):
        code, _, err = shotstream(command, JAX_PLATFORMS=platform)
        # Before it jax may say that a plugin which is installed does not start, in one line too.
        lines = err.splitlines()
        if "a plugin of jax does not start" in lines[0]:
            del lines[0]
        assert code == 2 and len(lines) == 1 and lines[0].startswith("error: ")
        assert f"unset JAX_PLATFORMS={platform}" in err
    code, out, err = shotstream("shotstream doctor", JAX_PLATFORMS="abacus")
    assert code == 0 and "→ unset JAX_PLATFORMS=abacus" in out


def test_other_failures_keep_their_traceback(monkeypatch):
    """They are bugs, not a caller's mistakes."""
    monkeypatch.setattr(sys, "argv", ["shotstream"])

    def main(_):
        raise RuntimeError("a bug")

    assert devices.why_no_devices() is None
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(main)
