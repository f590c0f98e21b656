"""A model that compiles in seconds; its sizes are odd, so that nothing relies on the usual ones."""

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import DType
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import Model, Params, compute_params, random_params
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.tokenizer import ByteTokenizer
from shotstream_jax.text.umt5 import UMT5Config
from shotstream_jax.vae.config import VAEConfig

DIT = DiTConfig(
    dim=48, ffn_dim=56, heads=2, layers=2, freq_dim=16, text_dim=20, text_len=24, channels=4
)
VAE = VAEConfig(
    dim=6,
    mean=(0.1, -0.2, 0.3, 0.0),
    std=(1.5, 0.5, 2.0, 1.0),
    mult=(1, 2),
    blocks=1,
    time_down=(True,),
)
TEXT = UMT5Config(vocab=300, dim=20, heads=2, head_dim=10, ffn_dim=24, layers=2)
MEMORY = MemoryConfig(context=4, chunk=2, window=6, sinks=2)


def tiny_preset(memory: MemoryConfig = MEMORY, shot_frames: int = 6) -> Preset:
    """2×3 tokens a latent frame, chunks of 2 frames, 2 pixel frames a latent frame."""
    video = VideoFormat(height=8, width=12, shot_frames=shot_frames)
    return Preset("test", DIT, VAE, TEXT, video, memory, byte_tokens=True)


def tiny_model(preset: Preset | None = None, seed: int = 0) -> Model:
    """A model with random weights, in float32."""
    if preset is None:
        preset = tiny_preset()
    params = cast(random_params(preset, seed), jnp.float32)
    return Model(preset, params, ByteTokenizer(), jnp.float32, f"random, seed {seed}")


def cast(params: Params, dtype: DType) -> Params:
    """Every part's parameters, on the first device and in the types that `load` gives them."""
    placed = {}
    for part, tree in params.items():
        placed[part] = jax.tree.map(jnp.asarray, compute_params(tree, dtype))
    return placed
