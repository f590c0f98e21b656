"""8-bit matmuls for streaming: weights are rounded once, when they are loaded, activations as they come.

    y = (x/s · W/r) · s·r     both quotients rounded to 8 bits     s = max|x| / top of each token
                                                                   r = max|W| / top of each output channel      (1)

top is 127 or 448, the largest number of the type. Sums of int8 products are exact (int32), those of float8_e4m3fn
products are float32. qwix does the arithmetic. A rounded kernel is a qwix.QArray (qvalue, scale) where the array was,
and the Linear that finds one computes eq. (1): no module has a switch. Training never meets one.

A GPU or TPU whose matrix units lack the type is refused. A processor widens float8, so that it can be tried there: the
same numbers, but slower than float32.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import qwix
from absl import logging
from flax.linen import dtypes

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array

TYPES = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}
CHOICES = ("none", *TYPES)
# qwix would have int8 reach to 127.5. There the largest number of every token lies between two steps, and which one it
# takes would hang on the last bit of a division, on the device and the mesh.
_CALIBRATION = {"int8": f"absmax,{127.5 / 127}", "fp8": "absmax"}
# The first NVIDIA generation (compute capability) whose matrix units take the type: Turing, Ada.
_CAPABILITY = {"int8": 7.5, "fp8": 8.9}
_FP8_TPUS = "TPU7x"

Params = dict[str, Any]


def quantize_blocks(params: Params, to: str) -> Params:
    """The transformer's parameters with the kernels [layers, in, out] of its blocks in 8 bits; "none": as they are."""
    if to == "none":
        return params
    rounded = lambda path, a: _round_kernel(a, to) if path[-1].key == "kernel" else a  # noqa: E731
    return params | {"blocks": jax.tree_util.tree_map_with_path(rounded, params["blocks"])}


def is_quantized(params: Params) -> bool:
    leaves = jax.tree.leaves(params, is_leaf=lambda a: isinstance(a, qwix.QArray))
    return any(isinstance(a, qwix.QArray) for a in leaves)


@functools.partial(jax.jit, static_argnames="to")
def _round_kernel(kernel: Array, to: str) -> qwix.QArray:
    return _round(kernel, to, channelwise_axes=(0, 2))


def _round(a: Array, to: str, channelwise_axes: Sequence[int]) -> qwix.QArray:
    # Scaled in float32: bfloat16 has no 127 steps to round to.
    wide = a.astype(jnp.float32)
    return qwix.quantize(
        wide, TYPES[to], channelwise_axes=channelwise_axes, calibration_method=_CALIBRATION[to]
    )


def dot_general(
    x: Array, kernel: Array | qwix.QArray, dims: jax.lax.DotDimensionNumbers, precision: Any
) -> Array:
    """jax.lax.dot_general, or eq. (1) for a rounded kernel: x [..., in] · [in, out], in x's type."""
    if not isinstance(kernel, qwix.QArray):
        # XLA has a processor's bfloat16 units only for sums that it is asked for in float32; elsewhere they are anyway.
        sums = jnp.float32 if x.dtype == jnp.bfloat16 and jax.default_backend() == "cpu" else None
        return jax.lax.dot_general(x, kernel, dims, precision, preferred_element_type=sums).astype(
            x.dtype
        )
    to = next(name for name, kind in TYPES.items() if kernel.qvalue.dtype == kind)
    tokens = _round(x, to, channelwise_axes=range(x.ndim - 1))
    return qwix.dot_general(tokens, kernel, dims, precision).astype(x.dtype)


def promote_dtype(
    x: Array, kernel: Array | qwix.QArray, bias: Array | None, *, dtype: Any
) -> list[Any]:
    """flax's promotion to the compute type, which leaves a rounded kernel alone."""
    if not isinstance(kernel, qwix.QArray):
        return dtypes.promote_dtype(x, kernel, bias, dtype=dtype)
    x, bias = dtypes.promote_dtype(x, bias, dtype=dtype)
    return [x, kernel, bias]


def check_quantize(to: str, device: jax.Device) -> None:
    """Refuses an unknown name, and a GPU or TPU whose matrix units lack the type; warns of fp8 on a processor."""
    if to not in CHOICES:
        raise InputError(f"quantize {to!r} is not known; choose one of {', '.join(CHOICES)}")
    if (to, device.platform) == ("fp8", "cpu"):
        logging.warning(
            "quantize fp8: a processor only imitates it: the same numbers, but slower than without"
        )
    elif to != "none" and not _has_units(to, device):
        raise InputError(
            f"quantize {to}: {device.device_kind} has no such matrix units; choose {_instead(to)}"
        )


def _has_units(to: str, device: jax.Device) -> bool:
    if device.platform == "cpu":
        return True
    if device.platform == "tpu":
        return to == "int8" or device.device_kind.startswith(_FP8_TPUS)
    try:
        return float(device.compute_capability) >= _CAPABILITY[to]
    except (AttributeError, ValueError):  # not NVIDIA's
        return False


def _instead(to: str) -> str:
    return "int8 or none" if to == "fp8" else "none"
