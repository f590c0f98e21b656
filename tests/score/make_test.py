"""One command makes a suite's films with a checkpoint, and scores them."""

import json

import numpy as np
import pytest

from shotstream_jax.media.reader import count_frames
from shotstream_jax.score import __main__ as app
from tests.score.films import write_story

pytest.importorskip("cv2")

# The smallest films: one chunk a shot.
SHORT = ("--config.video.shot_frames=3", "--config.video.height=16", "--config.video.width=16")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A story in one file, and a script of two scenes with a file for each prompt."""
    folder = tmp_path_factory.mktemp("made")
    write_story(folder / "stories" / "frog.json", 2)
    scenes = [{"video_prompts": ["The frog jumps.", "It sleeps."], "cut": [True, False]}]
    (folder / "st").mkdir()
    script = {"story_overview": "A cartoon.", "scenes": scenes}
    (folder / "st" / "bear.json").write_text(json.dumps(script))
    for suite, scripts in (("story", "stories"), ("st-bench", "st")):
        out = ("--out", str(folder / f"{scripts}-out"), "--cuts", "adaptive")
        words = ("--suite", suite, "--scripts", str(folder / scripts), "--make", *out)
        app.main([str(folder / f"{scripts}-films"), *words, *SHORT])
    return folder


def test_films_lie_where_the_suite_wants_them(made):
    film = made / "stories-films" / "frog.mp4"
    report = json.loads(film.with_name("frog.report.json").read_text())
    lengths = [chunk["frames"] for chunk in report["chunks"]]
    assert len(lengths) == 2 and sum(lengths) == count_frames(film)
    parts = [made / "st-films" / "bear" / name for name in ("01_01.mp4", "01_02.mp4")]
    assert [count_frames(part) for part in parts] == lengths


def test_they_are_scored_and_made_once(made, monkeypatch):
    report = json.loads((made / "stories-out" / "report.json").read_text())
    (film,) = report["films"]
    assert film["cuts_asked"] == [film["frames"] // 2] and 0 < film["figures"]["sca"][0] <= 1
    assert report["settings"]["made by"]["films"] == 1
    # What is there is not made again, and scores the same.
    monkeypatch.setattr(app, "make_films", None)
    words = ("--scripts", str(made / "stories"), "--make", "--cuts", "adaptive", *SHORT)
    app.main([str(made / "stories-films"), *words, "--out", str(made / "again")])
    again = json.loads((made / "again" / "report.json").read_text())
    for name, values in film["figures"].items():
        np.testing.assert_array_equal(again["films"][0]["figures"][name], values)
