"""A tiny autoencoder for live pictures (docs/method.md, section 2.4): 2-D convolutions only.

    decode   latents [b, f, h, w, c] → pixels [b, p, y, x, 3]
    encode   pixels [b, p, y, x, 3] → latents [b, f, h, w, c]

It stands where the model's own autoencoder does (vae/codec): pixels in [−1, 1], normalised latents,
channels last. Time enters by three kinds of blocks. A MemBlock sees each frame together with the
one before; that frame is its state between pieces, in the linen collection `stream` as in
vae/layers (nine blocks, nine states). Two frames become one, or one becomes two, by putting frames
into channels:

    pool   frames 2i, 2i + 1 side by side in channels → 1×1 convolution → frame i             (1)
    grow   frame i → 1×1 convolution to twice the channels → frames 2i, 2i + 1                (2)
"""

import flax.linen as nn
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, DType, Float, typechecked
from shotstream_jax.nn.layers import on_last_axis
from shotstream_jax.vae.config import TinyConfig
from shotstream_jax.vae.layers import Conv2d, LeftContext, Pointwise

BLOCKS = 3  # MemBlocks of a level
GROW = (1, 2, 2)  # frames that become of one at each of the decoder's levels
POOL = (2, 2, 1)  # frames that become one at each of the encoder's levels
_BOUND = 3.0  # latents are squeezed into ±_BOUND


class MemBlock(nn.Module):
    """relu(x + three convolutions of x and the frame before it); zeros before the first frame."""

    dtype: DType

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, c] → the same."""
        whole = LeftContext(1, name="time")(x)
        previous = whole[:, :-1]
        h = jnp.concatenate([x, previous], axis=-1)
        features = x.shape[-1]
        h = nn.relu(Conv2d(features, self.dtype, name="conv0")(h))
        h = nn.relu(Conv2d(features, self.dtype, name="conv1")(h))
        h = Conv2d(features, self.dtype, name="conv2")(h)
        return nn.relu(x + h)


class TinyEncoder(nn.Module):
    """Pixels in [0, 1] → latents."""

    cfg: TinyConfig
    dtype: DType

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[b, p, y, x, 3], p a multiple of 4 → [b, p/4, y/8, x/8, channels]."""
        width = self.cfg.encoder
        x = nn.relu(Conv2d(width, self.dtype, name="conv_in")(x))
        for i, frames in enumerate(POOL):
            # Eq. (1), then space halves. A window of the stride of 2 begins one row above and one
            # column to the left of its pixel.
            x = _frames_into_channels(x, frames)
            x = Pointwise(width, use_bias=False, dtype=self.dtype, name=f"level{i}_pool")(x)
            x = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0), (0, 0)))
            down = Conv2d(
                width,
                self.dtype,
                stride=2,
                padding="VALID",
                use_bias=False,
                name=f"level{i}_down",
            )
            x = down(x)
            for j in range(BLOCKS):
                x = MemBlock(self.dtype, name=f"level{i}_block{j}")(x)
        return Conv2d(self.cfg.channels, self.dtype, name="conv_out")(x)


class TinyDecoder(nn.Module):
    """Latents → pixels in [0, 1], not clipped."""

    cfg: TinyConfig
    dtype: DType

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """[b, f, h, w, channels] → [b, 4f, 8h, 8w, 3]."""
        z = jnp.tanh(z / _BOUND) * _BOUND
        widths = self.cfg.decoder
        x = nn.relu(Conv2d(widths[0], self.dtype, name="conv_in")(z))
        for i, frames in enumerate(GROW):
            for j in range(BLOCKS):
                x = MemBlock(self.dtype, name=f"level{i}_block{j}")(x)
            # Eq. (2), then space doubles (nearest neighbour). The public code does it the other way
            # round; a 1×1 convolution before gives the same with a quarter of the work.
            features = frames * x.shape[-1]
            x = Pointwise(features, use_bias=False, dtype=self.dtype, name=f"level{i}_grow")(x)
            x = _channels_into_frames(x, frames)
            x = jnp.repeat(x, 2, axis=2)
            x = jnp.repeat(x, 2, axis=3)
            x = Conv2d(widths[i + 1], self.dtype, use_bias=False, name=f"level{i}_up")(x)
        return Conv2d(3, self.dtype, name="conv_out")(nn.relu(x))


class TinyAutoencoder(nn.Module):
    """Both halves, with the methods of the model's own autoencoder (vae/model.VAE)."""

    cfg: TinyConfig
    dtype: DType = jnp.float32

    def setup(self) -> None:
        """The two halves."""
        self.encoder = TinyEncoder(self.cfg, self.dtype)
        self.decoder = TinyDecoder(self.cfg, self.dtype)

    @typechecked
    def decode(self, z: Float[Array, "b f h w c"], first: bool) -> Float[Array, "b p y x 3"]:
        """Normalised latents → pixels, in [−1, 1] once they are clipped.

        A video's first latent frame gives four pixel frames too, of which only the last is one.
        """
        std = on_last_axis(jnp.asarray(self.cfg.std, jnp.float32), z)
        mean = on_last_axis(jnp.asarray(self.cfg.mean, jnp.float32), z)
        frames = self.decoder(z * std + mean).astype(jnp.float32)
        if first:
            frames = frames[:, self.cfg.time - 1 :]
        return 2 * frames - 1

    @typechecked
    def encode(self, pixels: Float[Array, "b p y x 3"]) -> Float[Array, "b f h w c"]:
        """Pixels in [−1, 1] → normalised latents, one for every T frames from the first on.

        The last frame is repeated up to a multiple of T. Latents are not scaled by mean and std,
        which are the decoder's: public files of both kinds have the same encoder.
        """
        missing = -pixels.shape[1] % self.cfg.time
        frames = jnp.pad(pixels, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
        return self.encoder((frames + 1) / 2).astype(jnp.float32)

    def __call__(self, pixels: Array) -> Array:
        """Frames there and back: touches every parameter, for initialisation."""
        return self.decode(self.encode(pixels), first=True)


def _frames_into_channels(x: Array, frames: int) -> Array:
    """[b, frames·p, y, x, c] → [b, p, y, x, frames·c], the earlier frame first."""
    b, p, rows, columns, c = x.shape
    x = x.reshape(b, p // frames, frames, rows, columns, c)
    x = x.transpose(0, 1, 3, 4, 2, 5)
    return x.reshape(b, p // frames, rows, columns, frames * c)


def _channels_into_frames(x: Array, frames: int) -> Array:
    """[b, p, y, x, frames·c] → [b, frames·p, y, x, c], the inverse."""
    b, p, rows, columns, c = x.shape
    x = x.reshape(b, p, rows, columns, frames, c // frames)
    x = x.transpose(0, 1, 4, 2, 3, 5)
    return x.reshape(b, p * frames, rows, columns, c // frames)
