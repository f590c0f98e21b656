"""A lock file: one holder, named; gone with its process, however that ends."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.lock import locked

HOLD = """
import pathlib, sys
from shotstream_jax.core.lock import locked
with locked(pathlib.Path(sys.argv[1]), "out", "wait"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_refused_and_told_who_has_it(tmp_path):
    path = tmp_path / ".lock"
    with locked(path, "out/run", "wait for it"):
        me = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(InputError, match=f"out/run is being written by {me}: wait for it"):
            with locked(path, "out/run", "wait for it"):
                pass
        assert path.exists()
    assert not path.exists()
    with locked(path, "out/run", "wait for it"):
        pass


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / ".lock"
    words = [sys.executable, "-c", HOLD, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"by process {process.pid} on"):
            with locked(path, "out", "wait"):
                pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.exists()
    with locked(path, "out", "wait"):
        assert f"process {os.getpid()} " in path.read_text()


def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / ".lock", "out", "wait"):
        assert "out cannot be locked (No locks available)" in caplog.text
