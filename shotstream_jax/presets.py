"""Model sizes by name.

A recipe or a checkpoint names one; nothing else in the package knows a size.
"""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.values import number_between
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.flow.schedule import FewSteps
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.text.umt5 import UMT5Config
from shotstream_jax.vae.config import (
    TINY_MEAN,
    TINY_STD,
    WAN_MEAN,
    WAN_STD,
    DecoderConfig,
    TinyConfig,
    VAEConfig,
)

# The largest numbers of a VideoFormat: H.264's edges, and for time what nobody will reach.
_MOST = {"height": 16384, "width": 16384, "shot_frames": 10**6, "fps": 1000}


@dataclasses.dataclass(frozen=True)
class VideoFormat:
    """What comes out: pixels, latent frames a shot, pixel frames a second.

    Raises InputError if a number is not whole or out of its range.
    """

    height: int
    width: int
    shot_frames: int
    fps: int = 16

    def __post_init__(self) -> None:
        given = dataclasses.asdict(self)
        for name, most in _MOST.items():
            # The dataclass is frozen: numpy's numbers become Python's before anyone sees it.
            object.__setattr__(self, name, number_between(given[name], name, 1, most))


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model: its parts, its memory, its denoising steps, and the format that it is made for.

    byte_tokens: the model has no vocabulary of its own, prompts are read as bytes.

    Raises InputError if the memory or the text is too short for a stream.
    """

    name: str
    dit: DiTConfig
    vae: VAEConfig
    text: UMT5Config
    video: VideoFormat
    memory: MemoryConfig = dataclasses.field(default_factory=MemoryConfig)
    steps: FewSteps = dataclasses.field(default_factory=FewSteps)
    byte_tokens: bool = False

    def __post_init__(self) -> None:
        if self.memory.context < 1 or self.dit.text_len < 2:
            sizes = f"context {self.memory.context}, text length {self.dit.text_len}"
            raise InputError(f"{self.name} has {sizes}: a stream needs at least 1 and 2")

    def latent_grid(self, video: VideoFormat) -> tuple[int, int]:
        """Latent rows and columns; InputError if the model cannot make the format."""
        unit = self.vae.space * self.dit.patch  # pixels of a token's edge
        for name, size in (("height", video.height), ("width", video.width)):
            if size < unit or size % unit:
                nearest = max(unit, round(size / unit) * unit)
                raise InputError(f"{name} {size} is not a multiple of {unit}; try {nearest}")
        self.memory.check_shot(video.shot_frames)
        return self.vae.grid(video.height, video.width)

    def check_mesh(self, lengths: Mapping[str, int], grid: tuple[int, int]) -> None:
        """Raises InputError if heads or a latent frame's tokens do not divide over a mesh.

        lengths: of the mesh's axes, by name. grid: latent rows and columns.
        """
        rows, columns = self.dit.grid(*grid)
        tokens = rows * columns
        _check_divides(
            f"a frame's {tokens} tokens",
            tokens,
            "sequence",
            lengths,
        )
        _check_divides(
            f"{self.dit.heads} heads",
            self.dit.heads,
            "tensor",
            lengths,
        )


def _check_divides(
    what: str,
    number: int,
    axis: str,
    lengths: Mapping[str, int],
) -> None:
    ways = lengths[axis]
    if number % ways:
        raise InputError(
            f"{what} do not divide over mesh.{axis}={ways}: choose a divisor of {number}"
        )


_WAN_VAE = VAEConfig(dim=96, mean=WAN_MEAN, std=WAN_STD)
_UMT5_XXL = UMT5Config(
    vocab=256384,
    dim=4096,
    heads=64,
    head_dim=64,
    ffn_dim=10240,
    layers=24,
)
_WAN_VIDEO = VideoFormat(height=480, width=832, shot_frames=21)

_WAN_1_3B = Preset(  # the paper's
    "wan-1.3b",
    DiTConfig(
        dim=1536,
        ffn_dim=8960,
        heads=12,
        layers=30,
    ),
    _WAN_VAE,
    _UMT5_XXL,
    _WAN_VIDEO,
)
_WAN_14B = Preset(
    "wan-14b",
    DiTConfig(
        dim=5120,
        ffn_dim=13824,
        heads=40,
        layers=40,
    ),
    _WAN_VAE,
    _UMT5_XXL,
    _WAN_VIDEO,
)
_TINY = Preset(  # small enough for a laptop's processor
    "tiny",
    DiTConfig(
        dim=128,
        ffn_dim=512,
        heads=4,
        layers=6,
        text_dim=64,
        text_len=48,
    ),
    VAEConfig(
        dim=16,
        mean=TINY_MEAN,
        std=TINY_STD,
        mult=(1, 2, 4),
        blocks=1,
        time_down=(False, True),
    ),
    UMT5Config(
        vocab=384,
        dim=64,
        heads=4,
        head_dim=16,
        ffn_dim=128,
        layers=2,
    ),
    VideoFormat(
        height=32,
        width=48,
        shot_frames=6,
        fps=8,
    ),
    steps=FewSteps(shift=4.0),  # fewer pixels average less noise away
)
_LATENTS = 48
_DRAWN_VAE = VAEConfig(  # 8× in space, 2× in time, for the drawn world's larger pictures
    dim=24,
    # Training measures them.
    mean=(0.0,) * _LATENTS,
    std=(1.0,) * _LATENTS,
    mult=(1, 2, 4),
    blocks=1,
    time_down=(False, True),
    patch=2,
)
_TINY_64X96 = Preset(  # the same with four times the pixels, and as many tokens
    "tiny-64x96",
    DiTConfig(
        dim=256,
        ffn_dim=1024,
        heads=8,
        layers=6,
        text_dim=96,
        text_len=48,
        channels=_DRAWN_VAE.channels,
    ),
    _DRAWN_VAE,
    UMT5Config(
        vocab=384,
        dim=96,
        heads=6,
        head_dim=16,
        ffn_dim=192,
        layers=2,
    ),
    VideoFormat(
        height=64,
        width=96,
        shot_frames=6,
        fps=8,
    ),
    steps=FewSteps(shift=4.0),
)
_SMALL = Preset(  # for a GPU: the whole drawn world, 25 MB in float16
    "small",
    DiTConfig(
        dim=256,
        ffn_dim=768,
        heads=8,
        layers=7,
        text_dim=128,
        text_len=64,
        channels=_DRAWN_VAE.channels,
    ),
    _DRAWN_VAE,
    UMT5Config(
        vocab=384,
        dim=128,
        heads=8,
        head_dim=16,
        ffn_dim=256,
        layers=3,
    ),
    VideoFormat(
        height=96,
        width=144,
        shot_frames=6,
        fps=8,
    ),
    steps=FewSteps(shift=4.0),
)
_ALL = (_WAN_1_3B, _WAN_14B, _TINY, _TINY_64X96, _SMALL)
PRESETS = {preset.name: preset for preset in _ALL}


# Smaller decoders of a model's latents, for the frames that are shown; "wan" is the autoencoder's.
OWN_DECODER = "wan"
TINY_DECODERS = ("taehv", "lighttae", "lightvae")
DECODERS = (OWN_DECODER, *TINY_DECODERS)
# Of whose frames a story's memory is made, where a smaller decoder shows the frames.
OWN_HISTORY = "exact"  # the autoencoder's: it decodes them again
SHOWN_HISTORY = "shown"
HISTORIES = (OWN_HISTORY, SHOWN_HISTORY)


def decoder_config(kind: str, vae: VAEConfig) -> DecoderConfig:
    """Sizes of a kind's public file (of TINY_DECODERS), for a model with this autoencoder.

    taehv and lighttae differ in how their latents are scaled, and in nothing else.
    """
    if kind == "lightvae":
        return dataclasses.replace(vae, dim=24)
    scale = vae if kind == "lighttae" else vae.raw
    return TinyConfig(decoder=(256, 128, 64, 64), encoder=64, mean=scale.mean, std=scale.std)


def check_decoder(kind: str, decoder: DecoderConfig, vae: VAEConfig) -> None:
    """Raises InputError if a decoder's pictures do not lie as the autoencoder's do."""
    ours = (vae.space, vae.time, vae.channels)
    found = (decoder.space, decoder.time, decoder.channels)
    if found != ours:
        raise InputError(
            f"a {kind} decoder has {found[0]}× space, {found[1]}× time and {found[2]} channels, "
            f"the model {ours[0]}×, {ours[1]}× and {ours[2]}: it is for another model"
        )


def decoder_from_dict(kind: str, sizes: dict[str, Any]) -> DecoderConfig:
    """A decoder's sizes from dataclasses.asdict of them, as strictly as preset_from_dict."""
    try:
        if kind == "lightvae":
            return VAEConfig(**_lists_as_tuples(sizes))
        return TinyConfig(**_lists_as_tuples(sizes))
    except (TypeError, AttributeError) as error:
        raise InputError(f"the sizes of {kind} do not fit this version: {error}") from None


def preset_from_dict(sizes: dict[str, Any]) -> Preset:
    """The inverse of dataclasses.asdict, strictly; lists (of a JSON file) stand for tuples.

    Raises InputError, which names what does not fit, if a size is missing, unknown or impossible.
    """
    kinds = typing.get_type_hints(Preset)
    try:
        fields: dict[str, Any] = {}
        for name, value in sizes.items():
            is_part = dataclasses.is_dataclass(kinds[name])
            if is_part:
                fields[name] = kinds[name](**_lists_as_tuples(value))
            else:
                fields[name] = value
        return Preset(**fields)
    except (TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise InputError(f"the sizes of a model do not fit this version: {error}") from None


def _lists_as_tuples(sizes: dict[str, Any]) -> dict[str, Any]:
    """One part's sizes as its dataclass has them."""
    tuples = {}
    for name, value in sizes.items():
        tuples[name] = tuple(value) if isinstance(value, list) else value
    return tuples


def find_preset(name: str) -> Preset:
    """A preset by its name; InputError if there is none."""
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
