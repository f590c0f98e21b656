"""Encoder and decoder, one piece of a video at a time; `codec` drives them.

    encode   pixels [b, p, y, x, 3] → Encoder → [b, f, h, w, 2c]
                                    → moments → mean and log-variance, [b, f, h, w, c] each
    decode   latents [b, f, h, w, c] → from_latent → Decoder → pixels [b, p, y, x, 3]

p pixel frames are f latent frames: one for a video's first frame, T for each later one.
"""

import flax.linen as nn
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, DType, Float, PRNGKey, typechecked
from shotstream_jax.vae.config import VAEConfig, decoder_levels, encoder_levels
from shotstream_jax.vae.layers import (
    CausalConv,
    ChannelNorm,
    Downsample,
    Middle,
    Pointwise,
    Residual,
    Upsample,
    channels_to_pixels,
    pixels_to_channels,
)


class Encoder(nn.Module):
    """Pixels → features of the latent grid."""

    cfg: VAEConfig
    dtype: DType

    @nn.compact
    def __call__(self, x: Array, first: bool) -> Array:
        """[b, p, y, x, 3] → [b, f, h, w, 2·channels]."""
        # A square of pixels is one point of the first level.
        x = pixels_to_channels(x, self.cfg.patch)
        x = CausalConv(self.cfg.encoder_dims[0], self.dtype, name="conv_in")(x)
        # From level to level space halves, and time where the sizes say so.
        for i, level in enumerate(encoder_levels(self.cfg)):
            for j in range(level.blocks):
                block = Residual(level.outputs, self.dtype, name=f"level{i}_block{j}")
                x = block(x)
            if level.resample:
                down = Downsample(level.time, self.dtype, name=f"level{i}_down")
                x = down(x, first)
        x = Middle(self.dtype, name="middle")(x)
        x = ChannelNorm(name="norm_out")(x)
        x = nn.silu(x)
        return CausalConv(2 * self.cfg.channels, self.dtype, name="conv_out")(x)


class Decoder(nn.Module):
    """Latents → pixels."""

    cfg: VAEConfig
    dtype: DType

    @nn.compact
    def __call__(self, z: Array, first: bool) -> Array:
        """[b, f, h, w, channels] → [b, p, y, x, 3]."""
        x = CausalConv(self.cfg.decoder_dims[0], self.dtype, name="conv_in")(z)
        # Attention over a frame's pixels is affordable at the latent grid only.
        x = Middle(self.dtype, name="middle")(x)
        # From level to level space doubles, and time where the sizes say so.
        for i, level in enumerate(decoder_levels(self.cfg)):
            for j in range(level.blocks):
                block = Residual(level.outputs, self.dtype, name=f"level{i}_block{j}")
                x = block(x)
            if level.resample:
                up = Upsample(level.time, self.dtype, name=f"level{i}_up")
                x = up(x, first)
        x = ChannelNorm(name="norm_out")(x)
        x = nn.silu(x)
        x = CausalConv(3 * self.cfg.patch**2, self.dtype, name="conv_out")(x)
        return channels_to_pixels(x, self.cfg.patch)


def _low_log_variance(
    key: PRNGKey,
    shape: tuple[int, ...],
    dtype: DType,
) -> Array:
    """Bias of a fresh `moments`: log-variances start low.

    A fresh encoder's means are small and would drown in noise.
    """
    half = shape[0] // 2
    return jnp.concatenate([jnp.zeros(half, dtype), jnp.full(half, -8, dtype)])


class VAE(nn.Module):
    """The causal video autoencoder (docs/method.md, section 2).

    Latents outside are normalised per channel; the state between pieces lives in the collection
    `stream`.
    """

    cfg: VAEConfig
    dtype: DType = jnp.float32

    def setup(self) -> None:
        """Encoder and decoder, and the maps to and from the latent's channels."""
        self.encoder = Encoder(self.cfg, self.dtype)
        self.decoder = Decoder(self.cfg, self.dtype)
        self.moments = Pointwise(
            2 * self.cfg.channels,
            dtype=self.dtype,
            bias_init=_low_log_variance,
        )
        self.from_latent = Pointwise(self.cfg.channels, dtype=self.dtype)

    @typechecked
    def encode(self, pixels: Float[Array, "b p y x 3"], first: bool) -> Float[Array, "b f h w c"]:
        """Pixels in [−1, 1] → the latent mean, normalised.

        The first piece is one frame, later ones a multiple of T.
        """
        mean, _ = jnp.split(self.posterior(pixels, first), 2, axis=-1)
        # The log-variances are for training only. Each channel is normalised by its statistics.
        centred = mean - self._channel(self.cfg.mean)
        return centred / self._channel(self.cfg.std)

    @typechecked
    def posterior(
        self, pixels: Float[Array, "b p y x 3"], first: bool
    ) -> Float[Array, "b f h w c2"]:
        """Mean and log-variance of the latents, half of the channels each; for training.

        They are not normalised.
        """
        features = self.encoder(pixels, first)
        return self.moments(features).astype(jnp.float32)

    @typechecked
    def decode(self, z: Float[Array, "b f h w c"], first: bool) -> Float[Array, "b p y x 3"]:
        """Normalised latents → pixels, not clipped.

        The first latent frame of a video gives one pixel frame.
        """
        z = z * self._channel(self.cfg.std) + self._channel(self.cfg.mean)
        features = self.from_latent(z)
        return self.decoder(features, first).astype(jnp.float32)

    def __call__(self, pixels: Array) -> Array:
        """One frame there and back: touches every parameter, for initialisation."""
        latents = self.encode(pixels, first=True)
        return self.decode(latents, first=True)

    def _channel(self, values: tuple[float, ...]) -> Array:
        """A number a channel, [1, 1, 1, 1, c]."""
        return jnp.asarray(values, jnp.float32).reshape(1, 1, 1, 1, -1)
