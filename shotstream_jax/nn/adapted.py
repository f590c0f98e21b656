"""Low-rank adapters beside a kernel, as arguments of the program.

    y = x·W + b + (x·A)·(s·B)                                       (1)

A and B hold the factors of several adapters side by side, one slot each; s is the strength of each
in the story that x is of, and is multiplied in before the program. At strength 0 a slot adds zero,
whatever its A. Putting adapters beside a kernel puts an AdaptedKernel where the array was, and the
Linear that finds one computes eq. (1): no module has a switch, and the product A·B is never made.
"""

import flax

from shotstream_jax.core.typing import Array
from shotstream_jax.nn.quantize import (
    QuantizedKernel,
    dot_general,
    last_with_first,
    quantized_dot_general,
)


class AdaptedKernel(flax.struct.PyTreeNode):
    """A kernel and its adapters.

    kernel: W, [layers, in, out] or in 8 bits. down: A, [layers, in, slots·rank]. up: s·B of every
    story, [layers, b, slots·rank, out].
    """

    kernel: Array | QuantizedKernel
    down: Array
    up: Array


def kernel_product(x: Array, kernel: Array | QuantizedKernel) -> Array:
    """x·W in x's type: x [..., in] and a kernel of one layer → [..., out]."""
    if isinstance(kernel, QuantizedKernel):
        return quantized_dot_general(x, kernel)
    return last_with_first(x, kernel.astype(x.dtype))


def adapters_product(x: Array, adapted: AdaptedKernel) -> Array:
    """(x·A)·(s·B) in x's type: x [b, ..., in] and adapters of one layer → [b, ..., out]."""
    hidden = last_with_first(x, adapted.down.astype(x.dtype))  # [b, ..., slots·rank]
    up = adapted.up.astype(x.dtype)
    stories = up.shape[0]
    if stories == 1:
        return last_with_first(hidden, up[0])
    # Every story's tokens with its own strengths.
    tokens = hidden.reshape(stories, -1, hidden.shape[-1])
    product = dot_general(tokens, up, (((2,), (1,)), ((0,), (0,))), None)  # [b, tokens, out]
    return product.reshape(*x.shape[:-1], -1)
