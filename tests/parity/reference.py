"""The recorded numbers of the reference, in our layouts.

Every size comes from the set's config.json, or from the arrays.
"""

import functools
import json
import os
import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from shotstream_jax.convert.files import read_safetensors
from shotstream_jax.convert.reader import open_part_of_file
from shotstream_jax.convert.tables import dit_table, part_table
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.flow.schedule import FewSteps
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import abstract_params
from shotstream_jax.presets import Preset, VideoFormat
from shotstream_jax.text.umt5 import UMT5Config
from shotstream_jax.vae.config import WAN_MEAN, WAN_STD, VAEConfig
from tests.public_layout import from_public, to_public

ROOT = pathlib.Path(os.environ.get("SHOTSTREAM_FIXTURES") or pathlib.Path(__file__).parent / "data")
CONFIG = json.loads((ROOT / "config.json").read_text())
FEW_STEPS = FewSteps()


@functools.cache
def arrays(file: str) -> dict[str, np.ndarray]:
    with np.load(ROOT / file) as data:
        return dict(data)


def _chunk_frames() -> int:
    """Latent frames of a chunk, which config.json does not have: those of the first cached pass."""
    data = arrays("g05_student_cached.npz")
    shapes = [array.shape for name, array in data.items() if name.startswith("in/x_c0_")]
    return shapes[0][1]


CHUNK = _chunk_frames()

DIT = DiTConfig(
    dim=CONFIG["dim"],
    ffn_dim=CONFIG["ffn_dim"],
    heads=CONFIG["num_heads"],
    layers=CONFIG["num_layers"],
    freq_dim=CONFIG["freq_dim"],
    text_dim=CONFIG["text_dim"],
    text_len=CONFIG["text_len"],
)
T5 = UMT5Config(
    vocab=CONFIG["t5"]["vocab"],
    dim=CONFIG["t5"]["dim"],
    heads=CONFIG["t5"]["num_heads"],
    head_dim=CONFIG["t5"]["dim_attn"] // CONFIG["t5"]["num_heads"],
    ffn_dim=CONFIG["t5"]["dim_ffn"],
    layers=CONFIG["t5"]["num_layers"],
    buckets=CONFIG["t5"]["num_buckets"],
)
VAE_SIZES = VAEConfig(dim=CONFIG["vae_dim"], mean=WAN_MEAN, std=WAN_STD)


def preset(memory: MemoryConfig, shot_frames: int = CHUNK) -> Preset:
    """The set's model with a memory of the case's own."""
    video = VideoFormat(height=CONFIG["px_h"], width=CONFIG["px_w"], shot_frames=shot_frames)
    return Preset("fixture", DIT, VAE_SIZES, T5, video, memory, FEW_STEPS, byte_tokens=True)


def gradient_cases(group: str) -> list[str]:
    """The cases of a group whose gradients the set has."""
    prefix = f"{group}__"
    found = sorted((ROOT / "grads").glob(f"{prefix}*.safetensors"))
    return [path.stem.removeprefix(prefix) for path in found]


def kept_step_numbers(data: dict[str, np.ndarray]) -> tuple[int, ...]:
    """The steps of the teacher's solver whose inputs are kept, by the names of a set's arrays."""
    found = [re.fullmatch(r"(?:out/)?(\d+)_input", name) for name in data]
    return tuple(sorted(int(name[1]) for name in found if name))


def window_sizes(case: str) -> dict[str, int]:
    """The window and the sinks that a case's name tells, as fields of MemoryConfig."""
    found = re.search(r"local(\d+)_sink(\d+)", case)
    if not found:
        return {}
    return {"window": int(found[1]), "sinks": int(found[2])}


def video_last(a: np.ndarray) -> jax.Array:
    """[b, f, c, h, w] → [b, f, h, w, c]."""
    return jnp.asarray(np.moveaxis(a, 2, -1))


def ids(phase: np.ndarray, caption: np.ndarray | None = None) -> FrameIds:
    """One story's frame ids; without captions every frame reads slot 0."""
    caption = np.zeros_like(phase) if caption is None else caption
    return FrameIds(jnp.asarray(phase[None], jnp.int32), jnp.asarray(caption[None], jnp.int32))


@functools.cache
def weights(part: str, name: str) -> Any:
    """One of the set's models.

    Our copy of the set has the generator only as the official .pt, which holds the same tensors.
    """
    model, path = preset(MemoryConfig()), ROOT / "weights" / f"{name}.safetensors"
    state = (
        read_safetensors(path)
        if path.exists()
        else open_part_of_file(ROOT / "ckpt" / f"tiny_{name}.pt", "dit")
    )
    return from_public(part_table(model, part), abstract_params(model, part), state)


def gradients(name: str) -> dict[str, np.ndarray]:
    return load_file(ROOT / "grads" / f"{name}.safetensors")


def dit_public(tree: Any) -> dict[str, np.ndarray]:
    return to_public(dit_table(DIT), jax.tree.map(np.asarray, tree))
