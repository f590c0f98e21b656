"""ViCLIP (Wang et al., "InternVid", arXiv:2307.06942): features of videos and of texts.

CLIP's two transformers, of which the first sees the patches of 8 frames at once, each with a
learnt place in time. Sizes are read from the weights, which are ViCLIP's own file
(ViClip-InternVid-10M-FLT.pth); heads are 64 wide.

    block    x + attention(norm(x)), then x + mlp(norm(x)), with x·σ(1.702·x) between        (1)
    video    class token and patches (+ places in space and time) → blocks → norm of the class
             token → projection
    text     tokens (+ places) → blocks, each seeing earlier tokens only → norm → the end token
             → projection
"""

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Float, UInt8
from shotstream_jax.score.consistency import unit
from shotstream_jax.score.torch_io import (
    CLIP_DEVIATION,
    CLIP_MEAN,
    PictureForm,
    as_seen,
    device,
    load_state,
    load_tokenizer,
)

if TYPE_CHECKING:  # large, and an extra of this package
    import torch

FRAMES = 8  # of a video
_TOKENS = 32  # of a text; later ones are cut off
_HEAD = 64  # width


class ViCLIP:
    """Both encoders.

    path: the file of weights. vocabulary: a folder with CLIP's tokeniser. Raises InputError if one
    of them is another's.
    """

    def __init__(self, path: pathlib.Path, vocabulary: pathlib.Path) -> None:
        state = {name: value.to(device()).float() for name, value in load_state(path).items()}
        self._video = _part(state, "vision_encoder.", path)
        self._text = _part(state, "text_encoder.", path)
        self._tokenizer = load_tokenizer(vocabulary)
        places = len(self._video["positional_embedding"]) - 1
        side = round(places**0.5) * self._video["conv1.weight"].shape[-1]
        self._form = PictureForm(side, "bicubic", True, CLIP_MEAN, CLIP_DEVIATION)

    def encode_video(self, pictures: UInt8[np.ndarray, "8 y x 3"]) -> Float[np.ndarray, "d"]:
        """The unit features of a video."""
        import torch

        with torch.no_grad():
            features = _video_features(self._video, as_seen(pictures, self._form))
        return unit(features.cpu().numpy())[0]

    def encode_text(self, text: str) -> Float[np.ndarray, "d"]:
        """The unit features of a text."""
        import torch

        ids = self._tokenizer(text, truncation=True, max_length=_TOKENS)["input_ids"]
        with torch.no_grad():
            tokens = torch.tensor([ids], device=device())
            features = _text_features(self._text, tokens)
        return unit(features.cpu().numpy())[0]


def _part(
    state: "dict[str, torch.Tensor]", prefix: str, path: pathlib.Path
) -> "dict[str, torch.Tensor]":
    """The weights of one encoder, without its prefix."""
    part = {}
    for name, value in state.items():
        if name.startswith(prefix):
            part[name.removeprefix(prefix)] = value
    if "positional_embedding" not in part:
        raise InputError(f"{path} has not the weights of ViCLIP: it lacks {prefix}*")
    return part


def _video_features(weights: "dict[str, torch.Tensor]", frames: "torch.Tensor") -> "torch.Tensor":
    """[8, 3, y, x] → [1, d]."""
    import torch

    # 1. Patches of each frame, [t, m, w]. The kernel has one step in time.
    kernel = weights["conv1.weight"][:, :, 0]
    patches = torch.nn.functional.conv2d(frames, kernel, stride=kernel.shape[-1])
    x = patches.flatten(2).transpose(1, 2)
    # 2. Places in space and time; there is one class token for all frames.
    places = weights["positional_embedding"]
    times = weights["temporal_positional_embedding"][0]
    x = x + places[1:][None] + times[:, None]
    class_token = weights["class_embedding"] + places[0]
    x = torch.cat([class_token[None], x.flatten(0, 1)])[None]
    # 3. The blocks, and what the class token has gathered.
    x = _norm(weights, "ln_pre", x)
    x = _blocks(weights, x, sees_later=True)
    return _norm(weights, "ln_post", x[:, 0]) @ weights["proj"]


def _text_features(weights: "dict[str, torch.Tensor]", ids: "torch.Tensor") -> "torch.Tensor":
    """Token ids [1, l], the last of which is the end → [1, d]."""
    places = weights["positional_embedding"][: ids.shape[1]]
    x = weights["token_embedding.weight"][ids] + places[None]
    x = _blocks(weights, x, sees_later=False)
    x = _norm(weights, "ln_final", x)
    return x[:, -1] @ weights["text_projection"]


def _blocks(
    weights: "dict[str, torch.Tensor]", x: "torch.Tensor", sees_later: bool
) -> "torch.Tensor":
    """Eq. (1), once for each block: [1, s, w] → the same."""
    import torch

    number = 0
    while f"transformer.resblocks.{number}.ln_1.weight" in weights:
        name = f"transformer.resblocks.{number}"
        # Attention.
        y = _norm(weights, f"{name}.ln_1", x)
        y = y @ weights[f"{name}.attn.in_proj_weight"].T + weights[f"{name}.attn.in_proj_bias"]
        heads = [part.unflatten(-1, (-1, _HEAD)).transpose(1, 2) for part in y.chunk(3, dim=-1)]
        y = torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=not sees_later)
        y = y.transpose(1, 2).flatten(-2)
        x = x + _linear(weights, f"{name}.attn.out_proj", y)
        # The mlp.
        y = _linear(weights, f"{name}.mlp.c_fc", _norm(weights, f"{name}.ln_2", x))
        x = x + _linear(weights, f"{name}.mlp.c_proj", y * torch.sigmoid(1.702 * y))
        number += 1
    return x


def _linear(weights: "dict[str, torch.Tensor]", name: str, x: "torch.Tensor") -> "torch.Tensor":
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: "dict[str, torch.Tensor]", name: str, x: "torch.Tensor") -> "torch.Tensor":
    import torch

    gain = weights[f"{name}.weight"]
    return torch.nn.functional.layer_norm(x, gain.shape, gain, weights[f"{name}.bias"])
