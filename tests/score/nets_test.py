"""Networks in their published layouts: tiny ones, against transformers' own computation."""

import json
import os

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.score import __main__ as app
from shotstream_jax.score.image_encoders import clip_encoder, dino_encoder, dinov2_encoder
from shotstream_jax.score.weights import KINDS, NEEDS, find_weights, lacking, load_judges
from tests.score.films import place_shots, write_film, write_story
from tests.score.nets import (
    pictures,
    tiny_clip,
    tiny_detector,
    tiny_dino,
    tiny_dinov2,
    tiny_sam,
    tiny_viclip,
)

for library in ("cv2", "torch", "torchvision", "transformers"):
    pytest.importorskip(library)


@pytest.fixture(scope="module", autouse=True)
def offline():
    """No test asks the hub for anything."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield
    del os.environ["HF_HUB_OFFLINE"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with all kinds."""
    import torch
    from torchvision.models.optical_flow import raft_large

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    tiny_dino(folder / "dino")
    tiny_clip(folder / "clip")
    tiny_clip(folder / "clip-large")
    tiny_dinov2(folder / "dinov2")
    tiny_sam(folder / "sam")
    tiny_detector(folder / "detector")
    tiny_viclip(folder / "viclip.pth")
    torch.save(
        {"weight": torch.randn(1, 16), "bias": torch.tensor([5.0])}, folder / "aesthetic.pth"
    )
    torch.save(raft_large(weights=None).state_dict(), folder / "raft.pth")
    return folder


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def normalised(seen, mean, deviation):
    """[n, y, x, 3] uint8 → the tensor of a network that wants nothing else."""
    import torch

    x = (seen / 255 - np.array(mean)) / np.array(deviation)
    return torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float32))


@pytest.mark.parametrize("kind", ["dino", "clip", "dinov2"])
def test_features_are_the_networks_own(weights, kind):
    """Of pictures that need no scaling: 32×48 whole for DINO, their middle for the others."""
    import torch
    import transformers

    seen = pictures(3, 32, 48)
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    clip = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    with torch.no_grad():
        if kind == "dino":
            model = transformers.AutoModel.from_pretrained(weights / kind)
            x = normalised(seen, *imagenet)
            right = model(x, interpolate_pos_encoding=True).last_hidden_state[:, 0]
            found = dino_encoder(weights / kind)(seen)
        elif kind == "clip":
            model = transformers.AutoModel.from_pretrained(weights / kind)
            x = normalised(seen[:, :, 8:40], *clip)
            right = model(pixel_values=x, input_ids=torch.tensor([[1, 2]])).image_embeds
            found = clip_encoder(weights / kind)(seen)
        else:
            model = transformers.AutoModel.from_pretrained(weights / kind)
            right = model(normalised(seen[:, :, 8:40], *imagenet)).last_hidden_state[:, 0]
            found = dinov2_encoder(weights / kind)(seen)
    right = right.numpy()
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, right, atol=1e-5)
    # Different pictures are told apart.
    assert found[0] @ found[1] < 0.99


def test_all_nine_figures(weights, tmp_path):
    films = tmp_path / "films"
    write_film(films / "a.mp4", [shot[:10] for shot in place_shots()])
    still = np.repeat(place_shots()[0][:1], 24, axis=0)
    write_film(films / "b.mp4", [still])
    write_story(films / "a.json", 3)
    write_story(films / "b.json", 1)
    out = tmp_path / "out"
    app.main([str(films), "--weights", str(weights), "--cuts", "adaptive", "--out", str(out)])
    report = json.loads((out / "report.json").read_text())
    assert [name for figures in NEEDS for name in figures if name not in report["figures"]] == []
    assert set(report["settings"]["weights"]) == set(KINDS)
    moving, standing = (film["figures"] for film in report["films"])
    assert [len(moving[name]) for name in ("intra_subject", "text_alignment", "aesthetic")] == [
        3
    ] * 3
    assert len(moving["inter_semantic"]) == len(moving["inter_background"]) == 3
    # A still picture is consistent, and has no second shot.
    assert standing["intra_subject"][0] > 0.999 > moving["intra_subject"][0]
    assert standing["intra_background"][0] > 0.999 and standing["inter_semantic"] == []
    assert report["figures"]["inter_semantic"]["films"] == 1


def test_what_is_lacking_is_said(weights, tmp_path):
    (tmp_path / "clip").symlink_to(weights / "clip")
    found = find_weights([str(tmp_path), f"raft={weights / 'raft.pth'}"])
    assert set(found) == {"clip", "raft"}
    lines = [str(lack) for lack in lacking(found)]
    assert "not scored: intra_subject: no weights dino (facebook/dino-vitb16)" in lines
    assert not any("intra_background" in line or "dynamic_degree" in line for line in lines)
    # What could be scored of half the weights is not.
    start = "not scored: inter_semantic, text_alignment: no weights viclip (OpenGVLab"
    assert any(line.startswith(start) for line in lines)


@pytest.mark.parametrize(
    "kind, of, problem",
    [
        ("dino", "clip", "is no ViTModel|cannot be read"),
        ("viclip", "raft.pth", "has not the weights of ViCLIP"),
        ("aesthetic", "raft.pth", "is no linear predictor"),
        ("raft", "aesthetic.pth", "cannot be read as weights"),
        ("sam", "dino", "is no SamModel|cannot be read"),
    ],
)
def test_weights_of_another_network(weights, kind, of, problem):
    found = find_weights([str(weights), f"{kind}={weights / of}"])
    with pytest.raises(InputError, match=problem) as caught:
        load_judges(found, "adaptive")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "place, problem",
    [
        ("nowhere", "is not a folder"),
        ("eyes=nowhere", "there is no kind eyes"),
        ("dino=nowhere", "is not there"),
        (".", "has none of dino"),
    ],
)
def test_places_that_are_none(place, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=problem):
        find_weights([place])
