"""A Linear's matmul of float32 numbers in bfloat16, for processors with units for that (AMX).

    y = r(x)·r(W)        dx = r(g)·r(W)ᵀ        dW = r(x)ᵀ·r(g)            (1)

r rounds to bfloat16, g is the gradient by y. All sums are float32, and so are x, W, y and the
gradients; a TPU computes float32 Linears like this by itself. XLA has the units' matmuls only where
the first operand is summed over its last axis, and makes all others in float32: dW is brought into
that form here. A matmul that loses the form after XLA has looked at it is refused at run time.
"""

from typing import Any

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array

# The name that jax has for it (jax.default_matmul_precision).
PRECISION = "bfloat16"


def is_asked_for(x: Array) -> bool:
    """Whether what is traced now wants float32 x multiplied like this."""
    config: Any = jax.config  # whose fields type checkers do not know
    return x.dtype == jnp.float32 and config.jax_default_matmul_precision == PRECISION


@jax.custom_vjp
def product(x: Array, kernel: Array) -> Array:
    """Eq. (1): float32 x [..., in] and kernel [in, out] → float32 [..., out]."""
    return _product(x, kernel, 0)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    """The product, and what its gradients need."""
    return _product(x, kernel, 0), (x, kernel)


def _backward(residuals: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    """Gradients by x and kernel."""
    x, kernel = residuals
    by_x = _product(grad, kernel, 1)
    # One of both has to be turned: the narrower one, which is less to move.
    if x.shape[-1] <= grad.shape[-1]:
        return by_x, _over_tokens(x, grad)
    turned = _over_tokens(grad, x)
    # Without the barrier XLA would turn the matmul in place of its result.
    return by_x, jax.lax.optimization_barrier(turned).T


product.defvjp(_forward, _backward)


def _over_tokens(a: Array, b: Array) -> Array:
    """[..., m] and [..., n] → [m, n], summed over all tokens."""
    width = a.shape[-1]
    # The tokens keep their axes while they are turned: the turn of a matrix XLA would fold into the
    # matmul, which then is none of the units'.
    turned = jnp.moveaxis(a, -1, 0)
    return _product(turned.reshape(width, -1), b.reshape(-1, b.shape[-1]), 0)


def _product(a: Array, b: Array, axis: int) -> Array:
    """Sums over a's last axis and an axis of the matrix b; operands in bfloat16, sums not."""
    return jax.lax.dot_general(
        a.astype(jnp.bfloat16),
        b.astype(jnp.bfloat16),
        (((a.ndim - 1,), (axis,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
