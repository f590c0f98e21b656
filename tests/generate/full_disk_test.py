"""A full disk while a story or a report is written: one line, and what was there stays."""

import errno
import os

import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.generate.report import Report
from shotstream_jax.generate.story import Story
from shotstream_jax.presets import find_preset


@pytest.fixture
def no_room(monkeypatch):
    """From now on no file takes a byte."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)


def test_a_story_s_folder(tmp_path, no_room):
    preset = find_preset("tiny")
    story = Story("A fox.", 3, "tiny", preset.video, preset.memory.context)
    with pytest.raises(InputError, match=r"cannot save the story .*No space left") as error:
        story.save(tmp_path / "kept")
    assert "\n" not in str(error.value) and not list((tmp_path / "kept").iterdir())


def test_a_report(tmp_path, monkeypatch, request):
    path = tmp_path / "r.json"
    write_json(path, {"earlier": 1})
    before = path.read_bytes()
    monkeypatch.setattr(Report, "as_dict", lambda report: {})
    request.getfixturevalue("no_room")
    with pytest.raises(InputError, match=r"cannot write .*r.json: No space left") as error:
        Report("tiny", 0, "tiny").write(path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["r.json"]
