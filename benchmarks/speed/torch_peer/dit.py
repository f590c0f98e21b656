"""A denoising pass over a chunk with cached keys and values: the peer of Student.denoise.

One story.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shotstream_jax.dit.config import DiTConfig

Linear = tuple[Tensor, Tensor]  # weight [out, in], bias
KeysValues = tuple[Tensor, ...]  # keys and values, [n, s, k] each


class ChunkPass:
    """The transformer with our weights.

    params: our tree as numpy. Matrices take `dtype`, as ours do.
    """

    def __init__(self, params: dict[str, Any], cfg: DiTConfig, dtype: torch.dtype):
        self.cfg = cfg
        self.dtype = dtype
        self.patch_embedding = _linear(params["patch_embedding"], dtype)
        self.head = _linear(params["head"], dtype)
        self.head_table = torch.tensor(params["head_table"])
        # The time embedding stays in float32.
        self.time_in = _linear(params["time_in"], torch.float32)
        self.time_out = _linear(params["time_out"], torch.float32)
        self.time_projection = _linear(params["time_projection"], torch.float32)
        layers = len(params["blocks"]["table"])
        self.blocks = [self._block(_layer(params["blocks"], i)) for i in range(layers)]

    def _block(self, p: dict[str, Any]) -> dict[str, Any]:
        """One layer's weights as tensors."""
        norm = p["norm_cross"]
        return {
            "table": torch.tensor(p["table"]),
            "self": self._attention(p["self_attn"]),
            "cross": self._attention(p["cross_attn"]),
            "norm": (torch.tensor(norm["scale"]), torch.tensor(norm["bias"])),
            "ffn_in": _linear(p["ffn_in"], self.dtype),
            "ffn_out": _linear(p["ffn_out"], self.dtype),
        }

    def _attention(self, p: dict[str, Any]) -> dict[str, Any]:
        """The weights of one attention: q, k, v, o, and the norms of queries and keys."""
        weights: dict[str, Any] = {}
        for name in ("q", "k", "v", "o"):
            weights[name] = _linear(p[name], self.dtype)
        for name in ("norm_q", "norm_k"):
            weights[name] = torch.tensor(p[name]["scale"])
        return weights

    def __call__(
        self,
        x: Tensor,
        sinusoid: Tensor,
        turns: Tensor,
        cache: list[KeysValues],
        at: int,
        text: list[KeysValues],
    ) -> Tensor:
        """x [f, h, w, c] → velocity.

        sinusoid [1, 256]: of t. turns [f·t, k/2]: the rotations as complex numbers. cache: of each
        layer; the chunk's own keys and values go in at token `at`. text: of each layer, one
        caption's.
        """
        f, h, w, c = x.shape
        p = self.cfg.patch
        # Patches of p × p as tokens, [1, f·t, p·p·c].
        cut = x.reshape(f, h // p, p, w // p, p, c).permute(0, 1, 3, 2, 4, 5)
        patches = cut.reshape(1, -1, p * p * c)
        y = F.linear(patches.to(self.dtype), *self.patch_embedding)
        e = F.linear(F.silu(F.linear(sinusoid, *self.time_in)), *self.time_out)
        e0 = F.linear(F.silu(e), *self.time_projection).reshape(6, -1)
        for block, frames, caption in zip(self.blocks, cache, text, strict=True):
            y = self.block(block, y, e0, turns, frames, at, caption)
        shift = e + self.head_table[:1]
        scale = e + self.head_table[1:]
        out = F.linear(self.modulated(y, shift, scale), *self.head).float()
        # Back to a picture.
        out = out.reshape(f, h // p, w // p, p, p, c).permute(0, 1, 3, 2, 4, 5)
        return out.reshape(f, h, w, c)

    def block(
        self,
        b: dict[str, Any],
        x: Tensor,
        e0: Tensor,
        turns: Tensor,
        frames: KeysValues,
        at: int,
        caption: KeysValues,
    ) -> Tensor:
        """One layer: self-attention over the cache, cross-attention to the caption, the MLP."""
        shift1, scale1, gate1, shift2, scale2, gate2 = e0 + b["table"]
        h = self.modulated(x, shift1, scale1)
        attended = self.self_attention(b["self"], h, turns, frames, at)
        x = x + (gate1 * attended).to(x.dtype)
        norm = [weight.to(x.dtype) for weight in b["norm"]]
        h = F.layer_norm(x, x.shape[-1:], *norm, eps=self.cfg.eps)
        x = x + self.cross_attention(b["cross"], h, caption)
        h = F.linear(self.modulated(x, shift2, scale2), *b["ffn_in"])
        hidden = F.gelu(h, approximate="tanh")
        return x + (gate2 * F.linear(hidden, *b["ffn_out"])).to(x.dtype)

    def self_attention(
        self, a: dict[str, Any], h: Tensor, turns: Tensor, frames: KeysValues, at: int
    ) -> Tensor:
        """Writes the chunk's keys and values into the cache and attends to all up to its end."""
        q = turned(self.heads(self.normed(F.linear(h, *a["q"]), a["norm_q"])), turns)
        k = turned(self.heads(self.normed(F.linear(h, *a["k"]), a["norm_k"])), turns)
        v = self.heads(F.linear(h, *a["v"]))
        keys, values = frames
        stop = at + q.shape[1]
        keys[:, at:stop] = k
        values[:, at:stop] = v
        attended = F.scaled_dot_product_attention(
            q[None], keys[None, :, :stop], values[None, :, :stop]
        )
        return F.linear(self.joined(attended[0]), *a["o"])

    def cross_attention(self, a: dict[str, Any], h: Tensor, caption: KeysValues) -> Tensor:
        """Attends to a caption's keys and values."""
        keys, values = caption
        q = self.heads(self.normed(F.linear(h, *a["q"]), a["norm_q"]))
        attended = F.scaled_dot_product_attention(q[None], keys[None], values[None])
        return F.linear(self.joined(attended[0]), *a["o"])

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Layer norm without weights, scaled and shifted by the time embedding."""
        normed = F.layer_norm(x, x.shape[-1:], eps=self.cfg.eps)
        return (normed * (1 + scale) + shift).to(self.dtype)

    def normed(self, x: Tensor, scale: Tensor) -> Tensor:
        """The root mean square norm of queries or keys."""
        return F.rms_norm(x, x.shape[-1:], scale.to(x.dtype), self.cfg.eps)

    def heads(self, x: Tensor) -> Tensor:
        """[1, t, d] → [n, t, k]."""
        return x[0].unflatten(-1, (self.cfg.heads, -1)).transpose(0, 1)

    def joined(self, x: Tensor) -> Tensor:
        """[n, t, k] → [1, t, d]."""
        return x.transpose(0, 1).flatten(1)[None]


def _linear(p: dict[str, Any], dtype: torch.dtype) -> Linear:
    weight = torch.tensor(p["kernel"]).T.contiguous().to(dtype)
    return weight, torch.tensor(p["bias"]).to(dtype)


def _layer(stacked: dict[str, Any], i: int) -> dict[str, Any]:
    """Layer i of a tree of stacked layers."""
    return {name: _layer(a, i) if isinstance(a, dict) else a[i] for name, a in stacked.items()}


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions: adjacent pairs of [n, s, k] as complex numbers, times `turns`."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
