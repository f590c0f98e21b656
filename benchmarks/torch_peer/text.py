"""The UMT5 encoder: the peer of text.umt5. One prompt."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Encode:
    """params: our tree as numpy. buckets [l, l]: of every (query, key), eq. (1) of text/umt5."""

    def __init__(self, params: dict[str, Any], cfg: Any, buckets: Any):
        self.cfg, self.buckets = cfg, torch.tensor(buckets)
        self.embedding, self.norm_out = (
            torch.tensor(params["embedding"]),
            torch.tensor(params["norm_out"]["scale"]),
        )
        blocks = params["blocks"]
        names = ("q", "k", "v", "o", "gate", "fc1", "fc2")
        self.blocks = [
            {n: torch.tensor(blocks[n]["kernel"][i]).T.contiguous() for n in names}
            | {n: torch.tensor(blocks[n]["scale"][i]) for n in ("norm_attn", "norm_ffn")}
            | {"positions": torch.tensor(blocks["positions"][i])}
            for i in range(cfg.layers)
        ]

    def __call__(self, ids: Tensor, length: int) -> Tensor:
        """ids [l] → embeddings [l, e], zero from `length` on."""
        x = self.embedding[ids]
        padding = torch.zeros(len(ids)).masked_fill(
            torch.arange(len(ids)) >= length, torch.finfo(torch.float32).min
        )
        for p in self.blocks:
            y = F.rms_norm(x, x.shape[-1:], p["norm_attn"], self.cfg.eps)
            q, k, v = (
                F.linear(y, p[n]).unflatten(-1, (self.cfg.heads, -1)).transpose(0, 1)[None]
                for n in "qkv"
            )
            bias = p["positions"][self.buckets].permute(2, 0, 1)[None] + padding
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)[0]
            x = x + F.linear(attended.transpose(0, 1).flatten(1), p["o"])
            y = F.rms_norm(x, x.shape[-1:], p["norm_ffn"], self.cfg.eps)
            x = x + F.linear(
                F.linear(y, p["fc1"]) * F.gelu(F.linear(y, p["gate"]), approximate="tanh"), p["fc2"]
            )
        x = F.rms_norm(x, x.shape[-1:], self.norm_out, self.cfg.eps)
        return x * (torch.arange(len(ids)) < length)[:, None]
