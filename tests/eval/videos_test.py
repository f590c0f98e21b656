"""Videos of any origin."""

import json

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.eval import videos
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource


def write(folder, name, shots, frames):
    script = {"global_caption": "A film."} | {
        f"shot{k}": "Something happens." for k in range(1, shots + 1)
    }
    (folder / f"{name}.json").write_text(json.dumps(script))
    with VideoWriter(folder / f"{name}.mp4", 8) as video:
        video.write(frames)


def test_a_folder(tmp_path, capsys):
    pytest.importorskip("scenedetect")
    source = WorldSource(WorldConfig("simple", 8, (2, 3), (9,)), 48, 64, stories=4)
    films = [source[i] for i in range(4)]
    for number, film in enumerate(films):
        write(tmp_path, f"film{number}", len(film.story.shots), film.frames)
    videos.main([str(tmp_path), f"--out={tmp_path / 'scores.json'}"])
    result = json.loads((tmp_path / "scores.json").read_text())
    assert set(result["figures"]) == {
        "sca", "motion", "ssim_within", "ssim_between", "histogram_within", "histogram_between",
    }  # fmt: skip
    assert len({len(film.story.shots) for film in films}) == 2
    assert result["figures"]["motion"]["count"] == sum(len(film.story.shots) for film in films)
    assert [len(v["motion"]) for v in result["videos"].values()] == [
        len(film.story.shots) for film in films
    ]
    assert "sca" in capsys.readouterr().out


def test_a_video_without_cuts_scores_low(tmp_path):
    pytest.importorskip("scenedetect")
    write(tmp_path, "still", 3, np.full((30, 48, 64, 3), 90, np.uint8))
    found = videos.score_video(tmp_path / "still.mp4", 3)
    np.testing.assert_allclose(found["sca"], np.exp(-2 / 3), rtol=1e-6)  # two cuts are missed
    np.testing.assert_allclose(found["ssim_between"][1:], 1, atol=1e-3)
    np.testing.assert_allclose(found["motion"], 0, atol=1e-3)


def test_mistakes(tmp_path, monkeypatch):
    monkeypatch.setattr(videos, "check_scenedetect", lambda: None)
    run = lambda: videos.main([str(tmp_path), f"--out={tmp_path / 'scores.json'}"])  # noqa: E731
    with pytest.raises(InputError, match="has no videos"):
        run()
    write(tmp_path, "film", 4, np.zeros((3, 48, 64, 3), np.uint8))
    with pytest.raises(InputError, match="fewer frames"):
        run()
    (tmp_path / "film.json").unlink()
    with pytest.raises(InputError, match="cannot read story"):
        run()
