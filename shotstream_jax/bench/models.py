"""Models for measuring: random weights, or nothing but shapes. No checkpoint is read."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from shotstream_jax.core.sharding import param_shardings, with_shardings
from shotstream_jax.core.typing import DType
from shotstream_jax.model import PARTS, Model, Params, compute_params, init_part
from shotstream_jax.nn.quantize import quantize_blocks
from shotstream_jax.presets import Preset
from shotstream_jax.text.tokenizer import ByteTokenizer


def random_model(preset: Preset, dtype: DType, mesh: Mesh, quantize: str) -> Model:
    """A model with fresh weights, each made where it lies on the mesh.

    dtype: of its matmuls. quantize: the 8-bit form of its blocks' Linears, or "none".
    """
    abstract = abstract_model(preset, dtype, mesh, quantize)
    params: Params = {}
    for part in PARTS:
        # Each device makes its own slices only.
        places = jax.tree.map(lambda leaf: leaf.sharding, abstract.params[part])
        make = jax.jit(_fresh(preset, part, dtype, quantize), out_shardings=places)
        params[part] = make()
    return Model(preset, params, ByteTokenizer(), dtype, "random")


def abstract_model(preset: Preset, dtype: DType, mesh: Mesh, quantize: str) -> Model:
    """A model whose parameters are shapes with their shardings; arguments as random_model's."""
    params: Params = {}
    for part in PARTS:
        shapes = jax.eval_shape(_fresh(preset, part, dtype, quantize))
        params[part] = with_shardings(shapes, param_shardings(mesh, part, shapes))
    return Model(preset, params, ByteTokenizer(), dtype, "abstract")


def _fresh(preset: Preset, part: str, dtype: DType, quantize: str) -> Callable[[], Any]:
    """What makes a part's fresh parameters in the types that a pass computes with."""

    def fresh() -> Params:
        """The part's parameters."""
        params = compute_params(init_part(preset, part, jax.random.key(0)), dtype)
        if part == "dit":
            return quantize_blocks(params, quantize)
        return params

    return fresh
