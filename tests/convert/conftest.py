"""What the tests of the converter share."""

import sys

import pytest

from shotstream_jax import cli
from shotstream_jax.convert import __main__ as app


@pytest.fixture
def run(monkeypatch, capsys, caplog):
    """`shotstream convert` in this process: (exit code, all that it printed)."""

    def call(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.run(app.main)
        captured = capsys.readouterr()
        return stop.value.code, captured.out + captured.err

    return call
