"""Low-rank adapters beside a kernel, whose strengths are arguments of the program.

    y = x·W + b + ((x·A) · s)·B                                     (1)

A and B hold the factors of several adapters side by side, one slot each; s has every story's
strength of each. At strength 0 a slot adds zero, whatever is in it. Dressing a kernel so puts an
AdaptedKernel where the array was, and the Linear that finds one computes eq. (1): no module has a
switch, and the product A·B is never made.
"""

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array
from shotstream_jax.nn.quantize import QuantizedKernel, last_with_first, quantized_dot_general


class AdaptedKernel(flax.struct.PyTreeNode):
    """A kernel and its adapters.

    kernel: W, [layers, in, out] or in 8 bits. down: A, [layers, in, slots·rank]. up: B, [layers,
    slots·rank, out]. strength: s, float32 [layers, b, slots].
    """

    kernel: Array | QuantizedKernel
    down: Array
    up: Array
    strength: Array


def kernel_product(x: Array, kernel: Array | QuantizedKernel) -> Array:
    """x·W in x's type: x [..., in] and a kernel of one layer → [..., out]."""
    if isinstance(kernel, QuantizedKernel):
        return quantized_dot_general(x, kernel)
    return last_with_first(x, kernel.astype(x.dtype))


def adapters_product(x: Array, adapted: AdaptedKernel) -> Array:
    """The adapters' part of eq. (1) in x's type: x [b, ..., in] and one layer → [b, ..., out]."""
    # How strong each column of A is in each story: [b, slots] → [b, 1, …, slots·rank].
    slots = adapted.strength.shape[-1]
    rank = adapted.down.shape[-1] // slots
    strength = jnp.repeat(adapted.strength, rank, axis=-1)
    ones = (1,) * (x.ndim - 2)
    strength = strength.reshape(strength.shape[0], *ones, slots * rank)
    # Few numbers for each token: their sums and strengths are in float32.
    hidden = jax.lax.dot_general(
        x,
        adapted.down.astype(x.dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
    hidden = (hidden * strength).astype(x.dtype)
    return last_with_first(hidden, adapted.up.astype(x.dtype))
