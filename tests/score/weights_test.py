"""Which files of a repository are fetched."""

import pathlib

import pytest

from shotstream_jax.checkpoint.hub import Repository, Snapshot, read_hub_name
from shotstream_jax.core.errors import InputError
from shotstream_jax.score import weights
from shotstream_jax.score.weights import KINDS, find_weights, lacking

FILES = {
    "config.json": 1,
    "vocab.json": 1,
    "merges.txt": 1,
    "model.safetensors": 1,
    "pytorch_model.bin": 1,
    "flax_model.msgpack": 1,
    "onnx/model.safetensors": 1,
    "other.pth": 1,
    "ViClip-InternVid-10M-FLT.pth": 1,
}


@pytest.fixture
def fetched(monkeypatch):
    """What was asked of a hub whose repositories all have FILES."""
    asked = []

    def fetch(repository, files):
        asked.append((repository.name.repo, sorted(files)))
        return Snapshot(pathlib.Path("/cache") / repository.name.repo, "abc")

    monkeypatch.setattr(weights, "open_repository", lambda name: Repository(name, FILES))
    monkeypatch.setattr(weights, "fetch", fetch)
    return asked


def test_the_usual_repositories(fetched):
    found = find_weights(["hf:"])
    # Two kinds are not on the hub.
    assert set(KINDS) - set(found) == {"aesthetic", "raft"}
    assert [lack.kinds for lack in lacking(found)] == [("aesthetic",), ("raft",)]
    whole = ["config.json", "merges.txt", "model.safetensors", "vocab.json"]
    assert dict(fetched)["facebook/dino-vitb16"] == whole
    # ViCLIP is one file of a repository of many.
    assert dict(fetched)["OpenGVLab/VBench_Used_Models"] == ["ViClip-InternVid-10M-FLT.pth"]
    assert found["viclip"].name == "ViClip-InternVid-10M-FLT.pth"


def test_later_places_go_first(fetched, tmp_path):
    (tmp_path / "dino").mkdir()
    found = find_weights(["hf:", str(tmp_path), "clip=hf:me/mine"])
    assert found["dino"] == tmp_path / "dino"
    assert found["clip"] == pathlib.Path("/cache/me/mine")


def test_a_repository_without_weights(monkeypatch):
    empty = Repository(read_hub_name("hf:me/mine"), {"README.md": 1})
    monkeypatch.setattr(weights, "open_repository", lambda name: empty)
    with pytest.raises(InputError, match="me/mine has no weights for dino"):
        find_weights(["dino=hf:me/mine"])
