"""The decoder of later chunks: the peer of vae.codec.decode_next. Features are [1, c, p, y, x]."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shotstream_jax.vae.config import VAEConfig


class Decode:
    """The decoder with our weights.

    params: our tree as numpy. stream: our decoder's state behind earlier chunks, channels last; the
    same one goes into every call.
    """

    def __init__(self, params: dict[str, Any], stream: dict[str, Any], cfg: VAEConfig):
        self.p = _tensors(params)
        self.cfg = cfg
        self.past = _tensors(stream)["decoder"]

    def __call__(self, z: Tensor) -> Tensor:
        """Normalised latents [f, h, w, c] → pixels [p, y, x, 3]."""
        z = z * torch.tensor(self.cfg.std) + torch.tensor(self.cfg.mean)
        x = F.linear(z, *_pointwise(self.p["from_latent"]))
        x = x.permute(3, 0, 1, 2)[None].contiguous()  # [1, c, f, h, w]
        p = self.p["decoder"]
        past = self.past
        x = self.conv(x, p["conv_in"], past["conv_in"])
        x = self.residual(x, p["middle"]["block0"], past["middle"]["block0"])
        x = self.attention(x, p["middle"]["attention"])
        x = self.residual(x, p["middle"]["block1"], past["middle"]["block1"])
        level = 0
        while f"level{level}_block0" in p:
            for j in range(self.cfg.blocks + 1):
                name = f"level{level}_block{j}"
                x = self.residual(x, p[name], past[name])
            name = f"level{level}_up"
            if name in p:
                x = self.upsample(x, p[name], past.get(name))
            level += 1
        x = self.conv(F.silu(self.norm(x, p["norm_out"])), p["conv_out"], past["conv_out"])
        return x[0].permute(1, 2, 3, 0).clamp(-1, 1)

    def conv(self, x: Tensor, p: Any, past: Any) -> Tensor:
        """A convolution that sees the frames before these."""
        whole = torch.cat([past["time"]["past"], x], 2)
        return F.conv3d(whole, p["kernel"], p["bias"], padding=(0, 1, 1))

    def norm(self, x: Tensor, p: Any) -> Tensor:
        """The root mean square norm over channels."""
        scale = x.shape[1] ** 0.5 * p["scale"]
        return F.normalize(x, dim=1) * scale[:, None, None, None]

    def residual(self, x: Tensor, p: Any, past: Any) -> Tensor:
        """A residual block of two convolutions."""
        h = self.conv(F.silu(self.norm(x, p["norm1"])), p["conv1"], past["conv1"])
        h = self.conv(F.silu(self.norm(h, p["norm2"])), p["conv2"], past["conv2"])
        if "shortcut" in p:
            weight, bias = _pointwise(p["shortcut"])
            x = F.conv3d(x, weight[:, :, None, None, None], bias)
        return x + h

    def attention(self, x: Tensor, p: Any) -> Tensor:
        """Attention of one head among the pixels of each frame."""
        _, c, frames, rows, columns = x.shape
        pixels = self.norm(x, p["norm"])[0].permute(1, 2, 3, 0)  # [f, y, x, c]
        tokens = pixels.reshape(frames, 1, rows * columns, c)
        q, k, v = F.linear(tokens, *_pointwise(p["qkv"])).chunk(3, -1)
        out = F.linear(F.scaled_dot_product_attention(q, k, v), *_pointwise(p["proj"]))
        return x + out.reshape(frames, rows, columns, c).permute(3, 0, 1, 2)[None]

    def upsample(self, x: Tensor, p: Any, past: Any) -> Tensor:
        """Twice the rows and columns, and the frames if the level has a convolution over time."""
        if "time_conv" in p:
            whole = torch.cat([past["time"]["past"], x], 2)
            pairs = F.conv3d(whole, p["time_conv"]["kernel"], p["time_conv"]["bias"])
            _, _, frames, rows, columns = pairs.shape
            # The two halves of the channels are a frame and the next one.
            x = pairs.reshape(1, 2, -1, frames, rows, columns).permute(0, 2, 3, 1, 4, 5)
            x = x.reshape(1, -1, 2 * frames, rows, columns)
        frames = F.interpolate(x[0].transpose(0, 1), scale_factor=2, mode="nearest-exact")
        y = F.conv2d(frames, p["space_conv"]["kernel"], p["space_conv"]["bias"], padding=1)
        return y.transpose(0, 1)[None].contiguous()


def _tensors(tree: Any) -> Any:
    """Our layouts → torch's.

    Kernels [.., in, out] → [out, in, ..], features [b, p, y, x, c] → [b, c, p, y, x].
    """
    if isinstance(tree, dict):
        return {name: _tensors(value) for name, value in tree.items()}
    a = torch.tensor(tree)
    if a.ndim == 5 and a.shape[0] == 1:
        return a.permute(0, 4, 1, 2, 3).contiguous()
    if a.ndim == 5:
        return a.permute(4, 3, 0, 1, 2).contiguous()
    if a.ndim == 4:
        return a.permute(3, 2, 0, 1).contiguous()
    if a.ndim == 3:  # over time only
        return a.permute(2, 1, 0)[:, :, :, None, None].contiguous()
    return a


def _pointwise(p: Any) -> tuple[Tensor, Tensor]:
    """Weight [out, in] and bias of a convolution over single pixels."""
    return p["kernel"].T, p["bias"]
