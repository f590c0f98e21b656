"""A denoising pass over a chunk, with cached keys and values: the peer of Student.denoise. One story."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class ChunkPass:
    """params: our tree as numpy. Matrices take `dtype`, as ours do."""

    def __init__(self, params: dict[str, Any], cfg: Any, dtype: torch.dtype):
        self.cfg, self.dtype = cfg, dtype
        layers = len(params["blocks"]["table"])
        self.ends = {
            name: self._linear(params[name], dtype) for name in ("patch_embedding", "head")
        }
        self.time = {
            n: self._linear(params[n], torch.float32)
            for n in ("time_in", "time_out", "time_projection")
        }
        self.head_table = torch.tensor(params["head_table"])
        self.blocks = [self._block(params["blocks"], i) for i in range(layers)]

    def _linear(self, p: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return torch.tensor(p["kernel"]).T.contiguous().to(dtype), torch.tensor(p["bias"]).to(dtype)

    def _block(self, stacked: dict[str, Any], i: int) -> dict[str, Any]:
        p = _layer(stacked, i)
        return {
            "table": torch.tensor(p["table"]),
            "self": self._attention(p["self_attn"]),
            "cross": self._attention(p["cross_attn"]),
            "norm": (torch.tensor(p["norm_cross"]["scale"]), torch.tensor(p["norm_cross"]["bias"])),
            "ffn": (self._linear(p["ffn_in"], self.dtype), self._linear(p["ffn_out"], self.dtype)),
        }

    def _attention(self, p: dict[str, Any]) -> dict[str, Any]:
        norms = {name: torch.tensor(p[name]["scale"]) for name in ("norm_q", "norm_k")}
        return norms | {name: self._linear(p[name], self.dtype) for name in "qkvo"}

    def __call__(
        self,
        x: Tensor,
        sinusoid: Tensor,
        turns: Tensor,
        cache: list[tuple[Tensor, Tensor]],
        at: int,
        text: Any,
    ) -> Tensor:
        """x [f, h, w, c] → velocity. sinusoid [1, 256]: of t. turns [f·t, k/2] complex. cache: keys and values
        [n, s, k] of each layer, the chunk's own go in at token `at`. text: keys and values [n, l, k] of each layer."""
        f, h, w, c = x.shape
        p = self.cfg.patch
        patches = (
            x.reshape(f, h // p, p, w // p, p, c)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(1, -1, p * p * c)
        )
        y = F.linear(patches.to(self.dtype), *self.ends["patch_embedding"])
        e = F.linear(F.silu(F.linear(sinusoid, *self.time["time_in"])), *self.time["time_out"])
        e0 = F.linear(F.silu(e), *self.time["time_projection"]).reshape(6, -1)
        for block, frames, caption in zip(self.blocks, cache, text, strict=True):
            y = self.block(block, y, e0, turns, frames, at, caption)
        shift, scale = e + self.head_table[:1], e + self.head_table[1:]
        out = F.linear(self.modulated(y, shift, scale), *self.ends["head"]).float()
        out = out.reshape(f, h // p, w // p, p, p, c).permute(0, 1, 3, 2, 4, 5)
        return out.reshape(f, h, w, c)

    def block(
        self, b: Any, x: Tensor, e0: Tensor, turns: Tensor, frames: Any, at: int, caption: Any
    ) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = e0 + b["table"]
        h, a = self.modulated(x, shift1, scale1), b["self"]
        q, k = (
            turned(self.heads(self.normed(F.linear(h, *a[n]), a[f"norm_{n}"])), turns) for n in "qk"
        )
        keys, values = frames
        stop = at + q.shape[1]
        keys[:, at:stop], values[:, at:stop] = k, self.heads(F.linear(h, *a["v"]))
        attended = F.scaled_dot_product_attention(
            q[None], keys[None, :, :stop], values[None, :, :stop]
        )[0]
        x = x + (gate1 * F.linear(self.joined(attended), *a["o"])).to(x.dtype)
        a, norm = b["cross"], [w.to(x.dtype) for w in b["norm"]]
        h = F.layer_norm(x, x.shape[-1:], *norm, eps=self.cfg.eps)
        q = self.heads(self.normed(F.linear(h, *a["q"]), a["norm_q"]))
        attended = F.scaled_dot_product_attention(q[None], caption[0][None], caption[1][None])[0]
        x = x + F.linear(self.joined(attended), *a["o"])
        hidden = F.gelu(
            F.linear(self.modulated(x, shift2, scale2), *b["ffn"][0]), approximate="tanh"
        )
        return x + (gate2 * F.linear(hidden, *b["ffn"][1])).to(x.dtype)

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return (F.layer_norm(x, x.shape[-1:], eps=self.cfg.eps) * (1 + scale) + shift).to(
            self.dtype
        )

    def normed(self, x: Tensor, gain: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], gain.to(x.dtype), self.cfg.eps)

    def heads(self, x: Tensor) -> Tensor:
        return x[0].unflatten(-1, (self.cfg.heads, -1)).transpose(0, 1)

    def joined(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(1)[None]


def _layer(stacked: dict[str, Any], i: int) -> dict[str, Any]:
    return {name: _layer(a, i) if isinstance(a, dict) else a[i] for name, a in stacked.items()}


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Adjacent pairs of [n, s, k] as complex numbers."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
