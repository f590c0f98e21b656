"""Linears of float32 numbers that a processor multiplies in bfloat16."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.nn import half
from shotstream_jax.nn.layers import Linear

SHAPES = {"wider": (24, 64), "narrower": (64, 24), "one token": (24, 64)}


def arrays(name):
    """x, kernel and the gradient by their product, all with bfloat16's digits and more."""
    width, out = SHAPES[name]
    tokens = (2, 1, 1) if name == "one token" else (2, 3, 8)
    generator = np.random.default_rng(0)
    shapes = ((*tokens, width), (width, out), (*tokens, out))
    return [jnp.asarray(generator.standard_normal(shape, np.float32)) for shape in shapes]


def product_and_gradients(x, kernel, grad):
    """Eq. (1) as a training step makes it: the product, and its gradients by x and the kernel."""
    y, pull = jax.vjp(half.product, x, kernel)
    return y, *pull(grad)


def rounded(a):
    """The number that bfloat16 makes of each, in float64 as a matrix of all tokens."""
    near = np.asarray(a.astype(jnp.bfloat16), np.float64)
    return near.reshape(-1, near.shape[-1])


@pytest.mark.parametrize("name", SHAPES)
def test_products_and_gradients_are_those_of_rounded_numbers(name):
    given = arrays(name)
    results = jax.jit(product_and_gradients)(*given)
    x, kernel, grad = map(rounded, given)
    expected = (x @ kernel, grad @ kernel.T, x.T @ grad)
    for found, right in zip(results, expected, strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(np.reshape(found, right.shape), right, rtol=1e-5, atol=1e-5)


def first_types(function, *given):
    """The types of the first operands of all matmuls in the compiled program."""
    program = jax.jit(function).lower(*given).compile().as_text()
    types = []
    for operand in re.findall(r" dot\(%([\w.]+),", program):
        types += re.findall(rf"%{re.escape(operand)} = (\w+)\[.*parameter", program)[:1]
    return types


@pytest.mark.parametrize("name", ("wider", "narrower"))
def test_all_three_matmuls_have_the_form_that_the_units_take(name):
    """The trouble to turn operands is for this alone: XLA makes any other form in float32."""
    given = arrays(name)
    if first_types(half.product, *given[:2]) != ["bf16"]:
        pytest.skip("this XLA has no bfloat16 matmuls for processors")
    assert first_types(product_and_gradients, *given) == ["bf16"] * 3


def test_a_linear_rounds_only_where_that_is_asked_for():
    x, kernel, _ = arrays("wider")
    params = {"params": {"kernel": kernel, "bias": jnp.ones(kernel.shape[1])}}
    linear = Linear(kernel.shape[1])
    exact = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64) + 1
    np.testing.assert_allclose(linear.apply(params, x), exact, atol=1e-5)
    with jax.default_matmul_precision(half.PRECISION):
        found = linear.apply(params, x)
    near = (rounded(x) @ rounded(kernel)).reshape(found.shape) + 1
    assert np.abs(found - exact).max() > 1e-3
    np.testing.assert_allclose(found, near, atol=1e-5)
