"""Low-rank adapters on every Linear of the blocks (spec page 4): W + (alpha/rank)·A·B, B from zero, no dropout.

An adapter is a tree with the blocks' Linear names and the leaves `a` [layers, in, rank] and `b` [layers, rank, out].
It is applied by adding it to the weights: a function of the adapter that can be differentiated, or merged for good.
"""

import dataclasses
from typing import Any

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.errors import InputError

Params = dict[str, Any]
TARGETS = ("q", "k", "v", "o", "ffn_in", "ffn_out")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    rank: int = 256
    alpha: float = 256.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise InputError(f"LoRA rank {self.rank} and alpha {self.alpha} must be above 0")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def targets(params: Params) -> dict[tuple[str, ...], Any]:
    """Paths and kernels [layers, in, out] of the Linears that take an adapter: all of the blocks'."""
    flat = flax.traverse_util.flatten_dict(params["blocks"])
    return {
        path[:-1]: kernel
        for path, kernel in flat.items()
        if path[-1] == "kernel" and path[-2] in TARGETS
    }


def abstract_lora(params: Params, rank: int) -> Params:
    """Shapes of an adapter for parameters (arrays or ShapeDtypeStructs)."""
    tree = {}
    for path, kernel in targets(params).items():
        layers, inputs, outputs = kernel.shape
        tree[(*path, "a")] = jax.ShapeDtypeStruct((layers, inputs, rank), jnp.float32)
        tree[(*path, "b")] = jax.ShapeDtypeStruct((layers, rank, outputs), jnp.float32)
    return {"blocks": flax.traverse_util.unflatten_dict(tree)}


def init_lora(params: Params, cfg: LoraConfig, key: jax.Array) -> Params:
    """A: uniform ±1/√in (Kaiming, a = √5); B: zero, so that nothing changes at first."""
    flat = flax.traverse_util.flatten_dict(abstract_lora(params, cfg.rank))
    keys = jax.random.split(key, len(flat))

    def draw(path: tuple[str, ...], leaf: jax.ShapeDtypeStruct, key: jax.Array) -> jax.Array:
        bound = leaf.shape[1] ** -0.5
        return (
            jax.random.uniform(key, leaf.shape, leaf.dtype, -bound, bound)
            if path[-1] == "a"
            else jnp.zeros(leaf.shape)
        )

    return flax.traverse_util.unflatten_dict(
        {p: draw(p, x, k) for (p, x), k in zip(flat.items(), keys, strict=True)}
    )


def apply_lora(params: Params, lora: Params, cfg: LoraConfig) -> Params:
    """The parameters with the adapter added; computed in float32, in the kernels' own type."""
    flat = flax.traverse_util.flatten_dict(params)
    adapters = flax.traverse_util.flatten_dict(lora)
    for path in {path[:-1] for path in adapters}:
        kernel = flat[(*path, "kernel")]
        delta = jnp.einsum("lir,lro->lio", adapters[(*path, "a")], adapters[(*path, "b")])
        flat[(*path, "kernel")] = (kernel + cfg.scale * delta).astype(kernel.dtype)
    return flax.traverse_util.unflatten_dict(flat)
