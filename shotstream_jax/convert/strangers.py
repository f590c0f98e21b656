"""Models of the family that this package does not run, told by their names and sizes.

Each is refused by its own name, with the reason; without this an error would name keys that are
missing or too much.
"""

from collections.abc import Mapping
from typing import Any

# Part of a name → what a transformer with it is.
_DIT_SIGNS = {
    "vace_": "VACE, which is steered by videos",
    ".attn_op.local_attn.proj_l": "TurboDiffusion, whose sparse-linear attention is another model",
    "audio": "a model that is steered by sound",
    "face_adapter": "Wan Animate, which is steered by a face",
    "motion_encoder": "Wan Animate, which is steered by a motion",
    "img_emb.": "an image-to-video model: only text-to-video models are read",
    ".k_img": "an image-to-video model: only text-to-video models are read",
    ".v_img": "an image-to-video model: only text-to-video models are read",
    "image_embedder.": "an image-to-video model: only text-to-video models are read",
    ".add_k_proj": "an image-to-video model: only text-to-video models are read",
    "ref_conv": "a model that is steered by a reference picture",
    "control_adapter": "a model that is steered by a camera's path",
    ".base_layer.": "a transformer with PEFT's adapters that are not merged: merge them in PEFT",
    ".lora_": "a transformer with adapters that are not merged: merge them, or take them out",
}
_VAE_SIGNS = {
    "downsamples.0.downsamples.": "Wan 2.2's autoencoder (48 channels): read is Wan 2.1's",
    "down_blocks.0.resnets.": "Wan 2.2's autoencoder (48 channels): read is Wan 2.1's",
    "taehv": "a tiny autoencoder: --decoder reads it",
    "quant_conv.": "an autoencoder of another family",
}
_TEXT_SIGNS = {
    "text_model.": "CLIP: Wan reads its prompts with UMT5-XXL's encoder",
    "model.layers.": "a language model: Wan reads its prompts with UMT5-XXL's encoder",
}
_SIGNS = {"dit": _DIT_SIGNS, "vae": _VAE_SIGNS, "text": _TEXT_SIGNS}

_T5_TOKENS = 32128  # of T5 v1.1, whose encoder Flux and SD3 have; UMT5 has 256,384


def explain_stranger(part: str, state: Mapping[str, Any]) -> str | None:
    """Which known model a part is, if it is one that is not read.

    state: the part's plain names; the values may be None where only names are known.
    """
    for sign, reason in _SIGNS.get(part, {}).items():
        for name in state:
            if sign in name:
                return f"it is {reason} ({name})"
    if part == "dit":
        return _by_channels(_shape(state, "patch_embedding.weight"))
    if part == "vae":
        return _by_width(_shape(state, "encoder.conv1.weight"))
    if part == "text":
        return _by_vocabulary(_shape(state, "token_embedding.weight"))
    return None


def _shape(state: Mapping[str, Any], name: str) -> tuple[int, ...]:
    array = state.get(name)
    return () if array is None else tuple(array.shape)


def _by_channels(patches: tuple[int, ...]) -> str | None:
    """By the first convolution [dim, channels, 1, 2, 2] of a transformer."""
    if len(patches) != 5:
        return None
    dim, channels = patches[:2]
    size = f"{dim} wide, {channels} channels"
    if channels == 48:
        return f"it is Wan 2.2 TI2V-5B or one like it ({size}), for another autoencoder's latents"
    if channels == 36:
        return f"it is an image-to-video model ({size}): only text-to-video models are read"
    if channels != 16:
        return f"it reads {size}, a text-to-video model reads 16: it is steered by more than text"
    return None


def _by_width(first: tuple[int, ...]) -> str | None:
    """By the first convolution [dim, 3, 3, 3, 3] of an autoencoder."""
    if first and first[0] == 24:
        return "it is LightVAE, a smaller decoder (24 wide): --decoder reads it"
    return None


def _by_vocabulary(embedding: tuple[int, ...]) -> str | None:
    """By the table of tokens [tokens, dim] of a text encoder."""
    if embedding and embedding[0] == _T5_TOKENS:
        return "it is T5 v1.1 (32,128 tokens): Wan reads its prompts with UMT5-XXL's encoder"
    return None
