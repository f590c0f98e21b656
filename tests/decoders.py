"""A model whose latents are those that the public tiny decoders read: 8× in space, 4× in time."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp

from shotstream_jax.convert.files import read_safetensors
from shotstream_jax.convert.tables import decoder_table
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import Model, Params, abstract_decoder
from shotstream_jax.presets import Preset, VideoFormat, decoder_config
from shotstream_jax.testing import TEXT, tiny_model
from shotstream_jax.vae.config import WAN_MEAN, WAN_STD, TinyConfig, VAEConfig
from tests.public_layout import from_public

DATA = pathlib.Path(__file__).parent / "parity" / "data"
TAEHV_F32 = DATA / "weights" / "taehv.safetensors"
TAEHV_F16 = DATA / "ckpt" / "tiny_taehv_bigger_tgrow_f16.pth"
DIT = DiTConfig(dim=48, ffn_dim=56, heads=2, layers=1, freq_dim=16, text_dim=20, text_len=24)
VAE = VAEConfig(dim=4, mean=WAN_MEAN, std=WAN_STD, mult=(1, 1, 2, 2), blocks=1)


def wide_preset() -> Preset:
    """1×2 tokens a latent frame; of every shot but the first only its first frame is kept."""
    video = VideoFormat(height=16, width=32, shot_frames=4)
    memory = MemoryConfig(context=2, chunk=2, window=4, sinks=2)
    return Preset("wide", DIT, VAE, TEXT, video, memory, byte_tokens=True)


@functools.cache
def wide_model() -> Model:
    """With random weights and no decoder but its autoencoder's."""
    return tiny_model(wide_preset())


def recorded_config(kind: str) -> TinyConfig:
    """The sizes of the recorded tiny autoencoder."""
    sizes = json.loads((DATA / "g14_taehv.json").read_text())
    scale = decoder_config(kind, VAE)
    return TinyConfig(tuple(sizes["decoder"]), sizes["encoder"], scale.mean, scale.std)


@functools.cache
def recorded_params() -> Params:
    """Its weights, by the table alone."""
    cfg = recorded_config("taehv")
    state = read_safetensors(TAEHV_F32)
    params = from_public(decoder_table(cfg), abstract_decoder(cfg), state)
    return jax.tree.map(jnp.asarray, params)
