"""Clips that could not be encoded are looked at again; two runs never write the same shard."""

import json
import pathlib

import pytest

from shotstream_jax.checkpoint.save import save
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.lock import locked
from shotstream_jax.data.dataset import Dataset, open_dataset
from shotstream_jax.precompute import __main__ as app
from shotstream_jax.precompute import shards
from shotstream_jax.testing import tiny_model
from shotstream_jax.world import __main__ as world
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource
from tests.data.videos import write_video

ROWS = ("here.mp4", "late.mp4", "here.mp4", "never.mp4")


@pytest.fixture
def work(tmp_path) -> pathlib.Path:
    """A checkpoint, and a table of four clips, two of which have no video."""
    save(tiny_model(), tmp_path / "start")
    write_video(tmp_path / "here.mp4", 12)
    (tmp_path / "s.json").write_text(json.dumps({"global_caption": "G.", "shot1": "c"}))
    lines = [f'1,s.json,{name},"[[0, 11]]"' for name in ROWS]
    header = "shot_num_from_caption,json_path,video_path,frame_number"
    (tmp_path / "t.csv").write_text("\n".join([header, *lines]) + "\n")
    return tmp_path


def encode(work: pathlib.Path, *more: str) -> Dataset:
    fields = {"checkpoint": work / "start", "context": 4, "negative_prompt": ""}
    fields |= {"video.height": 8, "video.width": 12, "video.shot_frames": 6}
    recipe = [f"--config.{name}={value}" for name, value in fields.items()]
    paths = ["--csv", str(work / "t.csv"), "--out", str(work / "out"), "--shards", "2"]
    app.main(["--config=precompute", *recipe, *paths, *more])
    return open_dataset(work / "out")


def test_a_broken_clip_is_looked_at_again_when_its_file_has_changed(work, monkeypatch):
    first = encode(work)
    assert [clip.name for clip in first.clips] == ["t-00001", "t-00003"]
    assert [entry.name for entry in first.broken] == ["t-00002", "t-00004"]
    tried = []
    encode_clip = shards.encode_clip

    def counted(encoders, recipe, clip):
        tried.append(clip.name)
        return encode_clip(encoders, recipe, clip)

    monkeypatch.setattr(shards, "encode_clip", counted)
    encode(work)
    assert tried == []  # nothing has changed
    write_video(work / "late.mp4", 12)
    mended = encode(work)
    assert tried == ["t-00002"]
    assert [clip.name for clip in mended.clips] == ["t-00001", "t-00003", "t-00002"]
    assert [entry.name for entry in mended.broken] == ["t-00004"]
    assert mended.record(2).name == "t-00002" and mended.fingerprint != first.fingerprint
    tried.clear()
    encode(work, "--retry-broken")
    assert tried == ["t-00004"]


def test_a_folder_of_before_files_were_remembered(work, monkeypatch):
    """Its broken clips are looked at once more."""
    encode(work)
    index = work / "out" / "shard-00001-of-00002.json"
    content = json.loads(index.read_text())
    for entry in content["broken"]:
        del entry["files"]
    index.write_text(json.dumps(content))
    write_video(work / "late.mp4", 12)
    assert len(encode(work).clips) == 3


def test_one_run_writes_a_shard(work):
    (work / "out").mkdir()
    with locked(work / "out" / "shard-00001-of-00002.lock", "it", "wait"):
        with pytest.raises(InputError, match=r"shard-00001-of-00002 is being written by .*--part"):
            encode(work)
        app_part = ["--part", "0/2"]  # the other one is free
        with pytest.raises(InputError, match="is not complete"):
            encode(work, *app_part)
    assert len(encode(work).clips) == 2
    assert not list((work / "out").glob("*.lock"))


def test_one_run_draws_a_world(tmp_path):
    source = WorldSource(WorldConfig(shots=(2,), lengths=(2,)), 16, 16, stories=1)
    world.write_world(tmp_path / "w", source)
    with locked(tmp_path / "w" / ".lock", "it", "wait"):
        with pytest.raises(InputError, match=r"w is being written by .*--out"):
            world.write_world(tmp_path / "w", source)
    world.write_world(tmp_path / "w", source)
