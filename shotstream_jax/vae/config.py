"""Sizes of the autoencoder, and the statistics that its latents are normalised with."""

import dataclasses

from shotstream_jax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Spec page 2. Level i is `mult[i]`·dim wide; between levels space halves, and time too where `time_down` says."""

    dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mult: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    time_down: tuple[bool, ...] = (False, True, True)

    def __post_init__(self) -> None:
        if len(self.time_down) != len(self.mult) - 1:
            raise InputError(
                f"{len(self.mult)} levels have {len(self.mult) - 1} transitions, time_down is {self.time_down}"
            )
        if len(self.mean) != len(self.std):
            raise InputError(f"latent mean has {len(self.mean)} channels, std {len(self.std)}")

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def raw(self) -> "VAEConfig":
        """The same with latents as they are, not normalised."""
        return dataclasses.replace(self, mean=(0.0,) * self.channels, std=(1.0,) * self.channels)

    @property
    def space(self) -> int:
        """Pixels a latent pixel, along an edge."""
        return 2 ** len(self.time_down)

    @property
    def time(self) -> int:
        """Pixel frames a latent frame, after the first."""
        return 2 ** sum(self.time_down)

    @property
    def encoder_dims(self) -> tuple[int, ...]:
        """Width before the first level and after each."""
        return tuple(self.dim * m for m in (1, *self.mult))

    @property
    def decoder_dims(self) -> tuple[int, ...]:
        return tuple(self.dim * m for m in (self.mult[-1], *reversed(self.mult)))

    def pixel_frames(self, latent_frames: int) -> int:
        """Frames that a shot of so many latent frames decodes to."""
        return 1 + (latent_frames - 1) * self.time

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Latent rows and columns of a frame."""
        if height % self.space or width % self.space:
            raise InputError(f"{height}×{width} pixels do not divide by {self.space}")
        return height // self.space, width // self.space


@dataclasses.dataclass(frozen=True)
class Level:
    """One level of the encoder or decoder: widths, number of residual blocks, and what follows it."""

    inputs: int
    outputs: int
    blocks: int
    resample: bool
    time: bool


def encoder_levels(cfg: VAEConfig) -> list[Level]:
    dims = cfg.encoder_dims
    after = [*cfg.time_down, None]
    return [
        Level(dims[i], dims[i + 1], cfg.blocks, t is not None, bool(t)) for i, t in enumerate(after)
    ]


def decoder_levels(cfg: VAEConfig) -> list[Level]:
    """Spatial upsampling halves the width, so from the second level on the input is half the previous output."""
    dims = cfg.decoder_dims
    after = [*reversed(cfg.time_down), None]
    inputs = [dims[0], *(d // 2 for d in dims[1:])]
    return [
        Level(inputs[i], dims[i + 1], cfg.blocks + 1, t is not None, bool(t))
        for i, t in enumerate(after)
    ]


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
