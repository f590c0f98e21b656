"""Stories that are drawn while they are encoded are those of `shotstream world`, bit for bit."""

import json

import numpy as np
import pytest

from shotstream_jax.checkpoint.save import save
from shotstream_jax.core.errors import InputError
from shotstream_jax.data.dataset import open_dataset
from shotstream_jax.precompute import __main__ as precompute
from shotstream_jax.testing import tiny_model
from shotstream_jax.world import __main__ as world

STORIES = 3


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """world/ with videos, ckpt/."""
    folder = tmp_path_factory.mktemp("drawn")
    save(tiny_model(), folder / "ckpt")
    words = ["--stories", str(STORIES), "--size", "16x24", "--lengths", "11,14", "--shots", "2,3"]
    world.main(["--out", str(folder / "world"), *words])
    return folder


def words(drawn, *more: str) -> list[str]:
    fields = {"checkpoint": drawn / "ckpt", "context": 4, "video.height": 16, "video.width": 24}
    return [*(f"--config.{name}={value}" for name, value in fields.items()), *more]


def test_the_same_records_as_from_videos(drawn):
    csv = ("--csv", str(drawn / "world" / "clips.csv"), "--out", str(drawn / "from_videos"))
    precompute.main(words(drawn, *csv, "--shards", "2"))
    settings = ("--world", str(drawn / "world" / "settings.json"), "--out", str(drawn / "directly"))
    precompute.main(words(drawn, *settings, "--shards", "2"))
    from_videos = open_dataset(drawn / "from_videos")
    directly = open_dataset(drawn / "directly")
    assert len(directly) == len(from_videos) == STORIES
    for number in range(STORIES):
        one, other = from_videos.record(number), directly.record(number)
        assert (one.global_caption, one.captions) == (other.global_caption, other.captions)
        np.testing.assert_array_equal(one.shots, other.shots)
        for field in ("targets", "frames", "context", "text", "masks", "labels", "context_labels"):
            arrays = getattr(one, field), getattr(other, field)
            assert len(arrays[0]) == len(arrays[1]) > 1
            for a, b in zip(*arrays, strict=True):
                np.testing.assert_array_equal(a, b)
    assert directly.fingerprint != from_videos.fingerprint
    # Drawn once more, as on another machine, it is the same data to a run.
    again = ("--world", str(drawn / "world" / "settings.json"), "--out", str(drawn / "again"))
    precompute.main(words(drawn, *again, "--shards", "2"))
    assert open_dataset(drawn / "again").fingerprint == directly.fingerprint


def test_what_is_no_world(drawn, tmp_path):
    out = ("--out", str(tmp_path / "out"))
    path = str(drawn / "world" / "settings.json")
    with pytest.raises(InputError, match=r"cannot read --world .*none"):
        precompute.main(words(drawn, "--world", str(tmp_path / "none"), *out))
    (tmp_path / "bad.json").write_text(json.dumps({"config": {}, "height": 8}))
    with pytest.raises(InputError, match=r"bad.json is no settings.json of a world"):
        precompute.main(words(drawn, "--world", str(tmp_path / "bad.json"), *out))
    with pytest.raises(InputError, match=r"pictures of 16×24, the recipe of 24×24"):
        precompute.main(words(drawn, "--world", path, *out, "--config.video.height=24"))
    with pytest.raises(InputError, match="name what to encode"):
        precompute.main(words(drawn, "--world", path, "--csv", path, *out))
    assert not (tmp_path / "out").exists()
