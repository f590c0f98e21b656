"""Which shots of a data set are targets, and what is lost for which reason."""

import pytest

from shotstream_jax.checkpoint.save import save
from shotstream_jax.data.dataset import open_dataset
from shotstream_jax.data.samples import DataConfig, find_samples, losses_text, whole_targets
from shotstream_jax.precompute import __main__ as app
from shotstream_jax.testing import tiny_model
from shotstream_jax.world import __main__ as world
from tests.train.material import make_dataset

STORIES = 6


def test_no_story_of_the_world_loses_its_last_shot(tmp_path, caplog):
    """Of 2, 3 and 4 shots of 11 frames, two to a latent frame: the clip's cut costs it a frame."""
    caplog.set_level("INFO")
    drawn = ["--out", str(tmp_path / "world"), "--stories", str(STORIES), "--lengths", "11"]
    world.main([*drawn, "--shots", "2,3,4", "--subset", "simple", "--size", "32x48", "--fps", "8"])
    save(tiny_model(), tmp_path / "start")
    fields = {"checkpoint": tmp_path / "start", "context": 4, "negative_prompt": "grey"}
    fields |= {"video.height": 8, "video.width": 12, "video.shot_frames": 6}
    recipe = [f"--config.{name}={value}" for name, value in fields.items()]
    csv = ["--csv", str(tmp_path / "world" / "clips.csv"), "--out", str(tmp_path / "data")]
    app.main(["--config=precompute", *recipe, *csv])
    dataset = open_dataset(tmp_path / "data")
    assert {len(clip.shots) for clip in dataset.clips} >= {2, 3}
    shots = [frames for clip in dataset.clips for frames in clip.shots]
    assert shots == [6] * len(shots)
    for number in range(len(dataset)):
        record = dataset.record(number)
        assert (record.shots[:, 1] - record.shots[:, 0]).tolist() == [11] * len(record.shots)
    assert whole_targets(dataset) == (len(shots), {})
    assert f"{len(shots)} targets of 6 latent frames" in caplog.text


@pytest.mark.parametrize("targets", ["every", "last"])
def test_what_is_lost_is_counted_by_its_reason(tmp_path, targets):
    make_dataset(tmp_path / "data", clips=4, shots=3, frames=5)
    dataset = open_dataset(tmp_path / "data")
    cfg = DataConfig(str(tmp_path / "data"), frames=4, targets=targets, held_out=0.25)
    found = find_samples(dataset, cfg)
    assert len(found.train) == (9 if targets == "every" else 3)
    not_last = "shots that are not the last of their clip (data.targets=last)"
    assert found.lost == ({} if targets == "every" else {not_last: 8})


def test_the_words_of_what_is_lost():
    assert losses_text({"a": 0, "shots of 5 latent frames (6 wanted)": 2, "b": 1}) == (
        ", 2 shots of 5 latent frames (6 wanted), 1 b"
    )
    assert losses_text({}) == ""
