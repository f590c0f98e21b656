"""Sizes of the autoencoder, and the statistics that its latents are normalised with."""

import dataclasses
from collections.abc import Sequence

from shotstream_jax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of the autoencoder (docs/method.md, section 2).

    Attributes:
        dim: width of the first level.
        mean, std: statistics of the latents, a number a channel.
        mult: level i is `mult[i]`·dim wide; between levels space halves.
        blocks: residual blocks of an encoder's level; a decoder's has one more.
        time_down: between which levels time halves too.
        patch: edge of a square of pixels that is one point of the first level, its pixels
            beside each other as channels.

    Raises InputError if the lengths of these do not fit together.
    """

    dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mult: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    time_down: tuple[bool, ...] = (False, True, True)
    patch: int = 1

    def __post_init__(self) -> None:
        levels = len(self.mult)
        if len(self.time_down) != levels - 1:
            raise InputError(
                f"{levels} levels have {levels - 1} transitions, time_down is {self.time_down}"
            )
        if len(self.mean) != len(self.std):
            raise InputError(f"latent mean has {len(self.mean)} channels, std {len(self.std)}")
        if self.patch < 1:
            raise InputError(f"patch {self.patch} must be 1 pixel or more")

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return len(self.mean)

    @property
    def raw(self) -> "VAEConfig":
        """The same with latents as they are, not normalised."""
        zeros = (0.0,) * self.channels
        ones = (1.0,) * self.channels
        return dataclasses.replace(self, mean=zeros, std=ones)

    @property
    def space(self) -> int:
        """Pixels a latent pixel, along an edge."""
        return self.patch * 2 ** len(self.time_down)

    @property
    def time(self) -> int:
        """T: pixel frames a latent frame, after the first."""
        return 2 ** sum(self.time_down)

    @property
    def encoder_dims(self) -> tuple[int, ...]:
        """Width before the first level of the encoder and after each."""
        return tuple(self.dim * m for m in (1, *self.mult))

    @property
    def decoder_dims(self) -> tuple[int, ...]:
        """Width before the first level of the decoder and after each."""
        return tuple(self.dim * m for m in (self.mult[-1], *reversed(self.mult)))

    def pixel_frames(self, latent_frames: int) -> int:
        """Frames that a shot of so many latent frames decodes to."""
        return 1 + (latent_frames - 1) * self.time

    def latent_frames(self, pixel_frames: int) -> int:
        """The inverse: latent frames of a shot of so many frames."""
        return 1 + (pixel_frames - 1) // self.time

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Latent rows and columns of a frame; InputError if they are not whole numbers."""
        if height % self.space or width % self.space:
            raise InputError(f"{height}×{width} pixels do not divide by {self.space}")
        return height // self.space, width // self.space


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    """Sizes of a tiny autoencoder (docs/method.md, section 2.4).

    Attributes:
        decoder: width of each of the decoder's levels, coarsest first, and before its last
            convolution.
        encoder: width of the whole encoder.
        mean, std: what its decoder wants the latents scaled by, a number a channel: those of the
            model's autoencoder, or 0 and 1 if it reads the normalised latents as they are.

    Raises InputError if the lengths of these do not fit together.
    """

    decoder: tuple[int, ...]
    encoder: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.decoder) != 4:
            raise InputError(f"a tiny decoder has 4 widths, not {self.decoder}")
        if len(self.mean) != len(self.std):
            raise InputError(f"latent mean has {len(self.mean)} channels, std {len(self.std)}")

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return len(self.mean)

    @property
    def space(self) -> int:
        """Pixels a latent pixel, along an edge."""
        return 8

    @property
    def time(self) -> int:
        """T: pixel frames a latent frame, after the first."""
        return 4


# Of whatever decodes a model's latents: an autoencoder of the model's own kind, or a tiny one.
DecoderConfig = VAEConfig | TinyConfig


@dataclasses.dataclass(frozen=True)
class Level:
    """One level of the encoder or decoder.

    Attributes:
        inputs, outputs: widths before and after its residual blocks.
        blocks: number of residual blocks.
        resample: whether space is halved (or doubled) after them.
        time: whether time is too.
    """

    inputs: int
    outputs: int
    blocks: int
    resample: bool
    time: bool


def encoder_levels(cfg: VAEConfig) -> list[Level]:
    """Levels of the encoder, finest first; after the last one nothing is resampled."""
    inputs = cfg.encoder_dims[:-1]
    outputs = cfg.encoder_dims[1:]
    return _levels(
        inputs,
        outputs,
        cfg.blocks,
        cfg.time_down,
    )


def decoder_levels(cfg: VAEConfig) -> list[Level]:
    """Levels of the decoder, coarsest first.

    Spatial upsampling halves the width, so from the second level on the input is half the previous
    output.
    """
    before_first, *outputs = cfg.decoder_dims
    inputs = [before_first, *(width // 2 for width in outputs[:-1])]
    return _levels(
        inputs,
        outputs,
        cfg.blocks + 1,
        cfg.time_down[::-1],
    )


def _levels(
    inputs: Sequence[int],
    outputs: Sequence[int],
    blocks: int,
    time: Sequence[bool],
) -> list[Level]:
    """time: whether time is resampled after each level but the last."""
    levels = []
    for i, (width_in, width_out) in enumerate(zip(inputs, outputs, strict=True)):
        resample = i < len(time)
        level = Level(
            inputs=width_in,
            outputs=width_out,
            blocks=blocks,
            resample=resample,
            time=resample and time[i],
        )
        levels.append(level)
    return levels


WAN_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip
TINY_MEAN = (
    -0.0447, -0.3218, 0.0681, -0.0767, -0.2081, 0.0971, -0.0470, 0.2244,
    0.0803, -0.0229, 0.0375, -0.0737, -0.0689, 0.0975, -0.0046, -0.0339,
)  # fmt: skip
TINY_STD = (
    0.6789, 1.0985, 0.7266, 0.9271, 0.7837, 0.3777, 0.5614, 0.9531,
    0.7151, 0.7604, 0.4951, 1.1900, 0.6482, 0.6389, 0.7394, 0.5415,
)  # fmt: skip
