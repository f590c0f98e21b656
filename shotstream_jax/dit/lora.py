"""Low-rank adapters on every Linear of the blocks (docs/method.md, section 4).

    W + (alpha/rank)·A·B, B from zero, no dropout            (1)

An adapter is a tree with the blocks' Linear names and the leaves `a` [layers, in, rank] and `b`
[layers, rank, out]. It is applied by adding it to the weights: a function of the adapter that can
be differentiated, or merged for good.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Params, PRNGKey

# Names of the Linears that take an adapter: all of a block's.
TARGETS = ("q", "k", "v", "o", "ffn_in", "ffn_out")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Rank and alpha of eq. (1). Raises InputError unless both are above 0."""

    rank: int = 256
    alpha: float = 256.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise InputError(f"LoRA rank {self.rank} and alpha {self.alpha} must be above 0")

    @property
    def scale(self) -> float:
        """The factor of A·B."""
        return self.alpha / self.rank


def adapted_kernels(params: Params) -> dict[tuple[str, ...], Any]:
    """Paths (below "blocks") and kernels [layers, in, out] of the Linears that take an adapter."""
    kernels = {}
    for path, leaf in traverse_util.flatten_dict(params["blocks"]).items():
        *linear, leaf_name = path
        if leaf_name == "kernel" and linear[-1] in TARGETS:
            kernels[tuple(linear)] = leaf
    return kernels


def abstract_lora(params: Params, rank: int) -> Params:
    """Shapes of an adapter for parameters (arrays or ShapeDtypeStructs)."""
    flat = {}
    for path, kernel in adapted_kernels(params).items():
        layers, inputs, outputs = kernel.shape
        flat[(*path, "a")] = jax.ShapeDtypeStruct((layers, inputs, rank), jnp.float32)
        flat[(*path, "b")] = jax.ShapeDtypeStruct((layers, rank, outputs), jnp.float32)
    return {"blocks": traverse_util.unflatten_dict(flat)}


def init_lora(
    params: Params,
    cfg: LoraConfig,
    key: PRNGKey,
) -> Params:
    """A: uniform ±1/√in (Kaiming, a = √5); B: zero, so that nothing changes at first."""
    flat = traverse_util.flatten_dict(abstract_lora(params, cfg.rank))
    keys = jax.random.split(key, len(flat))
    # Every leaf has a key of its own, in the tree's order.
    drawn = {}
    for (path, leaf), leaf_key in zip(flat.items(), keys, strict=True):
        if path[-1] == "a":
            bound = leaf.shape[1] ** -0.5
            drawn[path] = jax.random.uniform(
                leaf_key,
                leaf.shape,
                leaf.dtype,
                -bound,
                bound,
            )
        else:
            drawn[path] = jnp.zeros(leaf.shape)
    return traverse_util.unflatten_dict(drawn)


def apply_lora(
    params: Params,
    lora: Params,
    cfg: LoraConfig,
) -> Params:
    """The parameters with the adapter added, eq.

    (1); computed in float32, in the kernels' own type.
    """
    flat = traverse_util.flatten_dict(params)
    adapters = traverse_util.flatten_dict(lora)
    for path, down in adapters.items():
        *linear, leaf_name = path
        if leaf_name != "a":
            continue
        # The adapter's own kernel, [layers, in, rank]·[layers, rank, out] → [layers, in, out].
        up = adapters[(*linear, "b")]
        delta = jnp.einsum("lir,lro->lio", down, up)
        kernel = flat[(*linear, "kernel")]
        flat[(*linear, "kernel")] = (kernel + cfg.scale * delta).astype(kernel.dtype)
    return traverse_util.unflatten_dict(flat)
