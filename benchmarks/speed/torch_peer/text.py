"""The UMT5 encoder: the peer of text.umt5. One prompt."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shotstream_jax.text.umt5 import UMT5Config

_KERNELS = ("q", "k", "v", "o", "gate", "fc1", "fc2")


class Encode:
    """The encoder with our weights.

    params: our tree as numpy. buckets [l, l]: of every (query, key), eq. (1) of text/umt5.
    """

    def __init__(self, params: dict[str, Any], cfg: UMT5Config, buckets: np.ndarray):
        self.cfg = cfg
        self.buckets = torch.tensor(buckets)
        self.embedding = torch.tensor(params["embedding"])
        self.norm_out = torch.tensor(params["norm_out"]["scale"])
        self.blocks = [self._block(params["blocks"], i) for i in range(cfg.layers)]

    def _block(self, stacked: dict[str, Any], layer: int) -> dict[str, Tensor]:
        """One layer's weights out of our stack, matrices [out, in]."""
        block = {"positions": torch.tensor(stacked["positions"][layer])}
        for name in _KERNELS:
            block[name] = torch.tensor(stacked[name]["kernel"][layer]).T.contiguous()
        for name in ("norm_attn", "norm_ffn"):
            block[name] = torch.tensor(stacked[name]["scale"][layer])
        return block

    def __call__(self, ids: Tensor, length: int) -> Tensor:
        """ids [l] → embeddings [l, e], zero from `length` on."""
        x = self.embedding[ids]
        valid = torch.arange(len(ids)) < length
        padding = torch.zeros(len(ids)).masked_fill(~valid, torch.finfo(torch.float32).min)
        for block in self.blocks:
            x = x + self.attention(self.norm(x, block["norm_attn"]), block, padding)
            x = x + self.mlp(self.norm(x, block["norm_ffn"]), block)
        return self.norm(x, self.norm_out) * valid[:, None]

    def norm(self, x: Tensor, scale: Tensor) -> Tensor:
        """The root mean square norm."""
        return F.rms_norm(x, x.shape[-1:], scale, self.cfg.eps)

    def attention(self, x: Tensor, block: dict[str, Tensor], padding: Tensor) -> Tensor:
        """Self-attention with relative positions. padding [l]: added to the keys' scores."""
        q = self.heads(F.linear(x, block["q"]))
        k = self.heads(F.linear(x, block["k"]))
        v = self.heads(F.linear(x, block["v"]))
        # [l, l, n] → [1, n, l, l]
        bias = block["positions"][self.buckets].permute(2, 0, 1)[None] + padding
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        joined = attended[0].transpose(0, 1).flatten(1)  # [l, n·k]
        return F.linear(joined, block["o"])

    def heads(self, x: Tensor) -> Tensor:
        """[l, n·k] → [1, n, l, k]."""
        return x.unflatten(-1, (self.cfg.heads, -1)).transpose(0, 1)[None]

    def mlp(self, x: Tensor, block: dict[str, Tensor]) -> Tensor:
        """The gated MLP."""
        gate = F.gelu(F.linear(x, block["gate"]), approximate="tanh")
        return F.linear(F.linear(x, block["fc1"]) * gate, block["fc2"])
