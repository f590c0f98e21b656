"""Films by Ray Data: the same files as without it, whatever becomes of a process or of a film."""

import contextlib
import filecmp
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.prepare.material import Scene, draw, film

pytest.importorskip("cv2")
pytest.importorskip("ray", reason="pip install 'shotstream-jax[ray]'")

CAPTIONS = {"global_caption": "x", "captions": [{"start": 0, "end": 99, "caption": "y"}]}
WORDS = ["--config.cuts.gradual=none", "--workers", "2"]
STAGE = b"ray::Map(_Stages"  # what Ray calls a process that is at work on a film


def start(films, out, *more):
    """prepare in a process of its own; then what it has made is encoded."""
    command = [sys.executable, "-m", "shotstream_jax", "prepare", str(films), "--out", str(out)]
    command += [*WORDS, *more, "--", "--out", str(out / "encoded"), "--shards", "2"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def at_work():
    """Numbers of the processes that are at work on a film."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(STAGE):
                found.append(int(path.parent.name))
    return found


def files(folder):
    """Names of all files below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in paths)


def test_ray_gives_the_same_files_though_a_process_is_killed(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for seed in range(3):
        views = [draw(Scene(60, seed, shift=250 * view)) for view in range(3)]
        path = film(films / f"{seed}.mp4", views)
        path.with_suffix(".captions.json").write_text(json.dumps(CAPTIONS))
    whole = (films / "0.mp4").read_bytes()
    (films / "cut.mp4").write_bytes(whole[: len(whole) // 2])

    running = start(films, tmp_path / "ray", "--ray")
    while not (workers := at_work()) and running.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.05)
    os.kill(workers[0], signal.SIGKILL)
    _, said = running.communicate()
    assert running.returncode == 0, said
    assert "cut.mp4 is cut off" in said

    alone = start(films, tmp_path / "alone")
    assert "cut.mp4 is cut off" in alone.communicate()[1]
    names = files(tmp_path / "alone")
    assert files(tmp_path / "ray") == names and "encoded/dataset.json" in names
    same, *_ = filecmp.cmpfiles(tmp_path / "ray", tmp_path / "alone", names, shallow=False)
    assert same == names
