"""Tiny networks with random weights, in the layouts of the published ones."""

import json
import pathlib

import numpy as np

WORDS = ("a", "b", "c", "patches")


def tiny_dino(folder: pathlib.Path, side: int = 32, patch: int = 4) -> pathlib.Path:
    """A ViTModel of pictures of this side."""
    import transformers

    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=side, patch_size=patch, initializer_range=0.3,
    )  # fmt: skip
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def tiny_clip(folder: pathlib.Path, side: int = 32, patch: int = 8) -> pathlib.Path:
    """A whole CLIPModel, and its tokeniser's files."""
    import transformers

    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "intermediate_size": 64, "image_size": side, "patch_size": patch}  # fmt: skip
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 64, "vocab_size": 600}  # fmt: skip
    config = transformers.CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=16, initializer_factor=8.0
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    write_vocabulary(folder)
    return folder


def tiny_dinov2(folder: pathlib.Path) -> pathlib.Path:
    """A Dinov2Model with patches of 2, so that pictures are of 32."""
    import transformers

    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=2,
        initializer_range=0.3,
    )  # fmt: skip
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


def tiny_sam(folder: pathlib.Path) -> pathlib.Path:
    """A SamModel of pictures of 64."""
    import transformers

    vision = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 64, "patch_size": 16, "window_size": 2,
              "global_attn_indexes": [0], "num_pos_feats": 8, "mlp_dim": 32}  # fmt: skip
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
               "iou_head_hidden_dim": 16}  # fmt: skip
    config = transformers.SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    transformers.SamModel(config).save_pretrained(folder)
    return folder


def tiny_detector(folder: pathlib.Path) -> pathlib.Path:
    """YOLOS, of pictures whose shorter side is 32."""
    import transformers

    config = transformers.YolosConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        image_size=[32, 48], patch_size=8, num_detection_tokens=5, num_labels=3,
        initializer_range=0.5,
    )  # fmt: skip
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    size = {"shortest_edge": 32, "longest_edge": 64}
    transformers.YolosImageProcessor(size=size).save_pretrained(folder)
    return folder


def tiny_viclip(path: pathlib.Path, side: int = 32, patch: int = 8) -> pathlib.Path:
    """ViCLIP's own file: width 64 and 2 blocks for videos, 1 for texts; features of 16."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator) * 0.2

    state = {"temp": torch.tensor(0.01)}
    places = (side // patch) ** 2 + 1
    vision = {
        "conv1.weight": draw(64, 3, 1, patch, patch), "class_embedding": draw(64),
        "positional_embedding": draw(places, 64), "temporal_positional_embedding": draw(1, 8, 64),
        "proj": draw(64, 16), **_blocks(draw, 2), **_norm(draw, "ln_pre"), **_norm(draw, "ln_post"),
    }  # fmt: skip
    text = {
        "token_embedding.weight": draw(600, 64), "positional_embedding": draw(32, 64),
        "text_projection": draw(64, 16), **_blocks(draw, 1), **_norm(draw, "ln_final"),
    }  # fmt: skip
    state |= {f"vision_encoder.{name}": value for name, value in vision.items()}
    state |= {f"text_encoder.{name}": value for name, value in text.items()}
    torch.save({"model": state}, path)
    return path


def _blocks(draw, count):
    blocks = {}
    for k in range(count):
        name = f"transformer.resblocks.{k}"
        blocks |= _norm(draw, f"{name}.ln_1") | _norm(draw, f"{name}.ln_2")
        for part, rows, columns in (
            ("attn.out_proj", 64, 64), ("mlp.c_fc", 256, 64), ("mlp.c_proj", 64, 256),
        ):  # fmt: skip
            blocks[f"{name}.{part}.weight"] = draw(rows, columns)
            blocks[f"{name}.{part}.bias"] = draw(rows)
        blocks[f"{name}.attn.in_proj_weight"] = draw(192, 64)
        blocks[f"{name}.attn.in_proj_bias"] = draw(192)
    return blocks


def _norm(draw, name):
    return {f"{name}.weight": 1 + draw(64), f"{name}.bias": draw(64)}


def write_vocabulary(folder: pathlib.Path) -> None:
    """CLIP's tokeniser of single bytes and a few merges: vocab.json and merges.txt."""
    letters = [chr(code) for code in range(33, 127)]
    merges = ["p a", "t c", "pa tc", "patc h", "patch e"]
    tokens = letters + [letter + "</w>" for letter in letters]
    tokens += [merge.replace(" ", "") for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def pictures(count: int, height: int = 48, width: int = 80, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, [count, y, x, 3] uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, height // 8, width // 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
