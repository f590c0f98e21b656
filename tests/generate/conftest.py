"""Running `shotstream generate` in a folder of its own."""

import json
import os
import pathlib
import sys

import pytest

from shotstream_jax import cli
from shotstream_jax.generate import __main__ as app

STORY = {"global_caption": "A fox.", "shot1": "It wakes.", "shot2": "It runs." + " and runs" * 100}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """run(*arguments) → (exit code, terminal output), in a folder that holds story.json."""
    config = str(pathlib.Path(__file__).parents[2] / "configs" / "tiny.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "story.json").write_text(json.dumps(STORY))

    nothing = open(os.devnull)
    monkeypatch.setattr(sys, "stdin", nothing)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["generate", "--config", config, *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.run(app.main)
        return stop.value.code, capsys.readouterr().err

    yield call
    nothing.close()
