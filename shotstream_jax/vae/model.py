"""Encoder and decoder, one piece of a video at a time; `codec` drives them."""

import flax.linen as nn
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.vae.config import VAEConfig, decoder_levels, encoder_levels
from shotstream_jax.vae.layers import (
    CausalConv,
    Downsample,
    Middle,
    Norm,
    Pointwise,
    Residual,
    Upsample,
)


class Encoder(nn.Module):
    cfg: VAEConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, first: bool) -> Array:
        x = CausalConv(self.cfg.encoder_dims[0], self.dtype, name="conv_in")(x)
        for i, level in enumerate(encoder_levels(self.cfg)):
            for j in range(level.blocks):
                x = Residual(level.outputs, self.dtype, name=f"level{i}_block{j}")(x)
            if level.resample:
                x = Downsample(level.time, self.dtype, name=f"level{i}_down")(x, first)
        x = nn.silu(Norm(name="norm_out")(Middle(self.dtype, name="middle")(x)))
        return CausalConv(2 * self.cfg.channels, self.dtype, name="conv_out")(x)


class Decoder(nn.Module):
    cfg: VAEConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, z: Array, first: bool) -> Array:
        x = CausalConv(self.cfg.decoder_dims[0], self.dtype, name="conv_in")(z)
        x = Middle(self.dtype, name="middle")(x)
        for i, level in enumerate(decoder_levels(self.cfg)):
            for j in range(level.blocks):
                x = Residual(level.outputs, self.dtype, name=f"level{i}_block{j}")(x)
            if level.resample:
                x = Upsample(level.time, self.dtype, name=f"level{i}_up")(x, first)
        return CausalConv(3, self.dtype, name="conv_out")(nn.silu(Norm(name="norm_out")(x)))


def _little_noise(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Log-variances begin low: a fresh encoder's means are small, and would drown."""
    return jnp.concatenate([jnp.zeros(shape[0] // 2, dtype), jnp.full(shape[0] // 2, -8, dtype)])


class VAE(nn.Module):
    """Spec page 2. Latents outside are normalised per channel; state lives in the collection `stream`."""

    cfg: VAEConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        self.encoder, self.decoder = Encoder(self.cfg, self.dtype), Decoder(self.cfg, self.dtype)
        self.moments = Pointwise(2 * self.cfg.channels, dtype=self.dtype, bias_init=_little_noise)
        self.from_latent = Pointwise(self.cfg.channels, dtype=self.dtype)

    @typechecked
    def encode(self, pixels: Float[Array, "b p y x 3"], first: bool) -> Float[Array, "b f h w c"]:
        """Pixels in [−1, 1] → the latent mean, normalised. The first piece is one frame, later ones a multiple of T."""
        mean, _ = jnp.split(self.posterior(pixels, first), 2, axis=-1)
        return (mean - self._channel(self.cfg.mean)) / self._channel(self.cfg.std)

    @typechecked
    def posterior(
        self, pixels: Float[Array, "b p y x 3"], first: bool
    ) -> Float[Array, "b f h w c2"]:
        """Mean and, in the second half of the channels, log-variance of the latents, not normalised: for training."""
        return self.moments(self.encoder(pixels, first)).astype(jnp.float32)

    @typechecked
    def decode(self, z: Float[Array, "b f h w c"], first: bool) -> Float[Array, "b p y x 3"]:
        """Normalised latents → pixels, not clipped. The first latent frame of a video gives one pixel frame."""
        z = z * self._channel(self.cfg.std) + self._channel(self.cfg.mean)
        return self.decoder(self.from_latent(z), first).astype(jnp.float32)

    def __call__(self, pixels: Array) -> Array:
        """One frame there and back: touches every parameter, for initialisation."""
        return self.decode(self.encode(pixels, first=True), first=True)

    def _channel(self, values: tuple[float, ...]) -> Array:
        return jnp.asarray(values, jnp.float32).reshape(1, 1, 1, 1, -1)
