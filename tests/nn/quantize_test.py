"""8-bit matmuls: the products are those of the rounded numbers; unfit devices are refused."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.nn.layers import Linear
from shotstream_jax.nn.quantize import check_quantize, quantize_blocks

TOP = {"int8": 127.0, "fp8": 448.0}


def rounded(a: np.ndarray, axis: int, to: str) -> tuple[np.ndarray, np.ndarray]:
    """(8-bit numbers as float64, scale), in numpy."""
    scale = np.abs(a).max(axis, keepdims=True) / np.float32(TOP[to])
    if to == "int8":
        return np.rint(a / scale).astype(np.float64), scale
    return (a / scale).astype(jnp.float8_e4m3fn).astype(np.float64), scale


@pytest.mark.parametrize("to", TOP)
def test_a_linear_multiplies_the_rounded_numbers(to):
    generator = np.random.default_rng(0)
    x, bias = (generator.standard_normal(shape, np.float32) for shape in ((2, 3, 40), (24,)))
    x *= np.array([1e-3, 1, 1e3], np.float32)[:, None]  # every token has a scale of its own
    kernel = generator.standard_normal((1, 40, 24), np.float32) * np.geomspace(
        1e-3, 1e3, 24, dtype=np.float32
    )
    leaf = quantize_blocks({"blocks": {"kernel": jnp.asarray(kernel)}}, to)["blocks"]["kernel"]
    params = {"kernel": jax.tree.map(lambda a: a[0], leaf), "bias": jnp.asarray(bias)}
    (tokens, s), (weights, r) = rounded(x, -1, to), rounded(kernel[0], 0, to)
    np.testing.assert_array_equal(np.asarray(leaf.qvalue[0], np.float64), weights.T)
    expected = tokens @ weights * s * r + bias
    for dtype, tolerance in ((jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)):
        given = jnp.asarray(x, dtype)
        if dtype == jnp.bfloat16:
            tokens, s = rounded(np.asarray(given, np.float32), -1, to)
            expected = tokens @ weights * s * r + bias
        y = Linear(24, dtype=dtype).apply({"params": params}, given)
        assert y.dtype == dtype
        size = np.abs(tokens) @ np.abs(weights) * s * r + np.abs(bias)  # of what is summed
        assert np.all(np.abs(np.asarray(y, np.float64) - expected) <= tolerance * size)


@pytest.mark.parametrize("to", TOP)
def test_a_calibrated_linear_has_one_scale_for_all_tokens(to):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 3, 40), np.float32)
    kernel = generator.standard_normal((2, 40, 24), np.float32)
    largest = [1.5, np.abs(x).max()]  # the first layer saw smaller inputs than it gets now
    leaf = quantize_blocks(
        {"blocks": {"mlp": {"kernel": jnp.asarray(kernel)}}}, to, {"mlp": largest}
    )["blocks"]["mlp"]["kernel"]
    for layer, limit in enumerate(largest):
        s = np.float32(limit) / np.float32(TOP[to])
        tokens = np.clip(x / s, -TOP[to], TOP[to])  # what lies beyond is cut off
        if to == "int8":
            tokens = np.rint(tokens)
        else:
            tokens = tokens.astype(jnp.float8_e4m3fn).astype(np.float64)
        weights, r = rounded(kernel[layer], 0, to)
        one = jax.tree.map(lambda a: a[layer], leaf)  # noqa: B023
        y = Linear(24, use_bias=False).apply({"params": {"kernel": one}}, jnp.asarray(x))
        size = np.abs(tokens) @ np.abs(weights) * s * r
        assert np.all(np.abs(np.asarray(y, np.float64) - tokens @ weights * s * r) <= 1e-5 * size)


def test_unknown_names_and_unfit_devices_are_refused():
    def device(platform: str, kind: str, **more: str) -> SimpleNamespace:
        return SimpleNamespace(platform=platform, device_kind=kind, **more)

    with pytest.raises(
        InputError, match=r"quantize 'int4' is not known; choose one of none, int8, fp8"
    ):
        check_quantize("int4", jax.devices()[0])
    with pytest.raises(
        InputError, match=r"fp8: NVIDIA A100 has no such matrix units; choose int8 or none"
    ):
        check_quantize("fp8", device("gpu", "NVIDIA A100", compute_capability="8.0"))
    with pytest.raises(InputError, match=r"fp8: TPU v5 lite has no"):
        check_quantize("fp8", device("tpu", "TPU v5 lite"))
    with pytest.raises(InputError, match=r"int8: .*; choose none"):
        check_quantize("int8", device("gpu", "AMD Instinct MI300X", compute_capability="gfx942"))
    for to in TOP:
        check_quantize(to, device("gpu", "NVIDIA H100", compute_capability="9.0"))
    check_quantize("int8", device("tpu", "TPU v5 lite"))
    check_quantize("none", device("gpu", "NVIDIA V100", compute_capability="7.0"))
