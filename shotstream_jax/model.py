"""A whole model: sizes, weights and tokeniser. The modules are stateless; `params` holds all that was learned."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from shotstream_jax.core import rng
from shotstream_jax.dit.student import Student
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.presets import Preset
from shotstream_jax.text.tokenizer import Tokenizer
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.vae.model import VAE

Params = dict[str, Any]
PARTS = ("dit", "vae", "text")


@dataclasses.dataclass(frozen=True)
class Model:
    """params: {"dit", "vae", "text"}. origin: where they come from, for people."""

    preset: Preset
    params: Params
    tokenizer: Tokenizer
    dtype: jnp.dtype
    origin: str

    @functools.cached_property
    def student(self) -> Student:
        return Student(self.preset.dit, self.dtype, memory=self.preset.memory)

    @functools.cached_property
    def vae(self) -> VAE:
        return VAE(self.preset.vae, self.dtype)

    @functools.cached_property
    def text(self) -> UMT5:
        return UMT5(self.preset.text, self.dtype)

    def mesh(self, part: str = "dit") -> Mesh | None:
        """Where a part's parameters are, unless that is one device without a mesh."""
        place = jax.tree.leaves(self.params[part])[0].sharding
        return place.mesh if isinstance(place, NamedSharding) else None

    def on_mesh(self, part: str = "dit") -> contextlib.AbstractContextManager[Any]:
        """What a part's passes run in: activations are then laid out on its mesh by the rules of core/sharding."""
        mesh = self.mesh(part)
        return jax.set_mesh(mesh) if mesh else contextlib.nullcontext()


def init_part(preset: Preset, part: str, key: rng.PRNGKey) -> Params:
    """Fresh parameters of one part (spec page 1, initial values). Traceable: eval_shape and jit apply."""
    ids = FrameIds(*(jnp.zeros((1, 1), jnp.int32) for _ in range(2)))
    size = preset.dit.patch
    latents = jnp.zeros((1, 1, size, size, preset.dit.channels))
    pixels = jnp.zeros((1, 1, preset.vae.space, preset.vae.space, 3))
    calls = {
        "dit": (
            Teacher(preset.dit),
            latents,
            jnp.zeros(1),
            ids,
            jnp.zeros((1, 1, 1, preset.dit.text_dim)),
        ),
        "vae": (VAE(preset.vae), pixels),
        "text": (UMT5(preset.text), jnp.zeros((1, 1), jnp.int32), jnp.ones(1, jnp.int32)),
    }
    module, *arguments = calls[part]
    return module.init(key, *arguments)["params"]


def abstract_params(preset: Preset, part: str) -> Params:
    """Shapes and types of one part's parameters; no array is made."""
    return jax.eval_shape(functools.partial(init_part, preset, part), jax.random.key(0))


def param_dtype(path: tuple[Any, ...], dtype: jnp.dtype) -> jnp.dtype:
    """Matrices take the compute type (half the memory in bf16); vectors, tables and the time embedding stay float32."""
    narrow = path[-1].key in ("kernel", "embedding") and not path[0].key.startswith("time_")
    return dtype if narrow else jnp.float32


def compute_params(params: Params, dtype: jnp.dtype) -> Params:
    """One part's parameters in the types that a pass computes with."""
    return jax.tree_util.tree_map_with_path(
        lambda path, a: a.astype(param_dtype(path, dtype)), params
    )


def random_params(preset: Preset, seed: int, parts: Sequence[str] = PARTS) -> Params:
    """Seeded numpy weights for trying the machinery: every matrix N(0, 1/fan-in), so that signals keep their size.

    Not for training (init_part is): there a transformer starts with a zero head and would ignore its input.
    """
    generator = np.random.default_rng(seed)
    draw = lambda path, leaf: _draw(generator, [key.key for key in path], leaf.shape)  # noqa: E731
    return {
        part: jax.tree_util.tree_map_with_path(draw, abstract_params(preset, part))
        for part in parts
    }


def _draw(generator: np.random.Generator, path: list[str], shape: tuple[int, ...]) -> np.ndarray:
    if path[-1] in ("scale", "bias"):
        return np.full(shape, float(path[-1] == "scale"), np.float32)
    stacked = path[0] == "blocks"
    fan_in = 1 if path[-1] in ("embedding", "positions") else math.prod(shape[stacked:-1])
    return generator.standard_normal(shape, np.float32) / np.float32(math.sqrt(fan_in))
