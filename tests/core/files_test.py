"""Files that have their name only when they are complete; paths that cannot be written."""

import json
import pathlib

import pytest

from shotstream_jax.core import files
from shotstream_jax.core.errors import InputError


def test_an_interrupted_file_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.whole(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_json_in_utf8(tmp_path):
    files.write_json(tmp_path / "a.json", {"story": "狐", "shots": [1, 2]})
    text = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert "狐" in text and text.endswith("\n")
    assert json.loads(text) == {"story": "狐", "shots": [1, 2]}


def test_a_path_that_can_be_written(tmp_path):
    path = tmp_path / "not" / "there" / "x.mp4"
    assert files.check_writable(str(path), ".mp4") == path
    assert list(tmp_path.iterdir()) == []  # it leaves no folder behind


def test_paths_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(InputError, match=r"x.avi must end in .mp4"):
        files.check_writable(tmp_path / "x.avi", ".mp4")
    with pytest.raises(InputError, match="is a folder: name a file"):
        files.check_writable(tmp_path / "folder.mp4", ".mp4")
    with pytest.raises(InputError, match=r"cannot write /proc/x\.mp4"):
        files.check_writable(pathlib.Path("/proc/x.mp4"), ".mp4")
    monkeypatch.setattr(files, "_LEAST_SPACE", 2**80)
    with pytest.raises(InputError, match=r"MB are free, \d+ MB are needed"):
        files.check_writable(tmp_path / "x.mp4", ".mp4")
