"""Progress: lines without carriage returns where there is no terminal, a clock while one waits."""

import io
import sys

import pytest

from shotstream_jax.core import progress
from shotstream_jax.core.progress import progress_bar, waiting
from shotstream_jax.train.run.log import Log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("seconds, lines", [(1000.0, 2), (0.0, 4)])
def test_without_a_terminal(monkeypatch, seconds, lines):
    """Few lines, whatever the number of steps; all of them where each is due."""
    monkeypatch.setattr(progress, "_SECONDS_A_LINE", seconds)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress_bar(range(3), unit="step", desc="out", mininterval=0)) == [0, 1, 2]
    said = sys.stderr.getvalue()
    assert "\r" not in said and said.count("\n") >= 1
    assert len(said.splitlines()) <= lines + 1
    assert said.splitlines()[-1].startswith("out: 100%| 3/3 [")


def test_at_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    list(progress_bar(range(3), unit="step", mininterval=0))
    assert sys.stderr.getvalue().count("\r") >= 3


def test_waiting_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "_SECONDS_A_LINE", 0.0)
    bar = progress_bar(total=5, unit="step")
    with waiting(bar, "compiling"):
        bar.refresh()
    bar.update(5)
    bar.close()
    first, *_, last = [line for line in sys.stderr.getvalue().splitlines() if line]
    assert "compiling" in sys.stderr.getvalue()
    assert "0/5" in first and "compiling" not in last and "5/5" in last


def test_a_run_says_that_it_compiles(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "_SECONDS_A_LINE", 0.0)
    log = Log(tmp_path, first=0, steps=3, is_main=True)
    before = sys.stderr.getvalue()
    log.add(0, {}, 0.0)
    log.close()
    assert "compiling:   0%| 0/3" in before
    assert "compiling" not in sys.stderr.getvalue().splitlines()[-1]
