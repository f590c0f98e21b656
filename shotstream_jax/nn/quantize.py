"""8-bit matmuls for streaming.

Weights are rounded once, when they are loaded, activations as they come:

    y = (x/s · W/r) · s·r, both quotients rounded to 8 bits          (1)
    s = max|x| / top of each token, or of all tokens that a calibration saw
    r = max|W| / top of each output channel

(core/narrow has the rounding and top.) Sums of int8 products are exact (int32), those of
float8_e4m3fn products are made in float32 and rounded to x's type. Rounding puts a QuantizedKernel
where the array was, and the Linear that finds one computes eq. (1): no module has a switch. Rounded
weights cannot be trained or saved.

Scales of each token are nearer to the unrounded result. They cost a GPU a pass over every
activation, to find its maximum, and that is more memory traffic than 8 bits save.
Scales of a calibration (generate/calibrate) are known beforehand, so an activation is rounded where
it is made. What lies beyond them is cut off at top.

A GPU or TPU whose matrix units lack the type is refused. A CPU widens float8, so that it can be
tried there: the same numbers, but slower than float32.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
from absl import logging
from flax.linen import dtypes

from shotstream_jax.core.devices import device_capability, target_platform
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.narrow import NARROW_TYPES, narrow, narrow_by, top
from shotstream_jax.core.typing import Array, Params
from shotstream_jax.nn import half

CHOICES = ("none", *NARROW_TYPES)
# The first NVIDIA generation (compute capability) whose matrix units take the type: Turing, Ada.
_CAPABILITY = {"int8": 7.5, "fp8": 8.9}
_FP8_TPUS = "TPU7x"


class QuantizedKernel(flax.struct.PyTreeNode):
    """A rounded kernel, qvalue·scale.

    qvalue: 8-bit numbers, [layers, out, in]: 8-bit matrix units read a row for each output. scale:
    float32, r of eq. (1), [layers, out, 1]. input_scale: float32, s of eq. (1), [layers, 1, 1];
    None: every token has its own.
    """

    qvalue: Array
    scale: Array
    input_scale: Array | None = None


class WatchedKernel(flax.struct.PyTreeNode):
    """A kernel whose inputs are watched (generate/calibrate).

    kernel: [layers, in, out]. layer: each one's number, [layers]. record: is called with the layer
    and the largest |x| of every matmul with the kernel.
    """

    kernel: Array
    layer: Array
    record: Callable[[Any, Any], None] = flax.struct.field(pytree_node=False)


# The largest |input| of every Linear of the blocks, [layers], by the Linear's path like
# "self_attn/q" (generate/calibrate).
LargestInputs = Mapping[str, Sequence[float]]


def quantize_blocks(
    params: Params, type_name: str, largest_inputs: LargestInputs | None = None
) -> Params:
    """The transformer's parameters with the kernels [layers, in, out] of its blocks in 8 bits.

    type_name: one of CHOICES; "none" leaves the parameters as they are. largest_inputs: of a
    calibration; without it every token has a scale of its own.
    """
    if type_name == "none":
        return params

    def rounded(path: tuple[Any, ...], leaf: Array) -> Array | QuantizedKernel:
        """A kernel in 8 bits, any other parameter as it is."""
        if path[-1].key != "kernel":
            return leaf
        kernel = _round_kernel(leaf, type_name)
        if largest_inputs is None:
            return kernel
        largest = jnp.asarray(largest_inputs[linear_name(path)], jnp.float32)
        return kernel.replace(input_scale=largest[:, None, None] / top(NARROW_TYPES[type_name]))

    blocks = jax.tree_util.tree_map_with_path(rounded, params["blocks"])
    return params | {"blocks": blocks}


def linear_name(path: tuple[Any, ...]) -> str:
    """The name of a Linear in the blocks by its kernel's path there, like "self_attn/q"."""
    return "/".join(key.key for key in path[:-1])


def is_quantized(params: Params) -> bool:
    """Whether any kernel of these parameters is rounded."""
    leaves = jax.tree.leaves(params, is_leaf=_is_rounded)
    return any(map(_is_rounded, leaves))


def _is_rounded(leaf: Any) -> bool:
    return isinstance(leaf, QuantizedKernel)


@functools.partial(jax.jit, static_argnames="type_name")
def _round_kernel(kernel: Array, type_name: str) -> QuantizedKernel:
    """[layers, in, out] → one scale for each layer and output channel."""
    rows = kernel.swapaxes(1, 2)
    rounded = narrow(rows, NARROW_TYPES[type_name])
    return QuantizedKernel(qvalue=rounded.numbers, scale=rounded.scale)


def dot_general(
    x: Array,
    kernel: Array | WatchedKernel,
    dims: jax.lax.DotDimensionNumbers,
    precision: Any,
) -> Array:
    """jax.lax.dot_general: x [..., in] · [in, out] in x's type."""
    if isinstance(kernel, WatchedKernel):
        largest = jnp.max(jnp.abs(x))
        jax.debug.callback(kernel.record, kernel.layer, largest)
        kernel = kernel.kernel.astype(x.dtype)
    # XLA uses a CPU's bfloat16 units only for sums that are asked for in float32. Elsewhere they
    # always are float32.
    on_cpu = target_platform() == "cpu"
    is_linear = dims == (((x.ndim - 1,), (0,)), ((), ()))
    if on_cpu and is_linear and half.is_asked_for(x):
        return half.product(x, kernel)
    sums = jnp.float32 if x.dtype == jnp.bfloat16 and on_cpu else None
    product = jax.lax.dot_general(
        x,
        kernel,
        dims,
        precision,
        preferred_element_type=sums,
    )
    return product.astype(x.dtype)


def last_with_first(x: Array, kernel: Array) -> Array:
    """A Linear's matmul: x [..., in] · [in, out] in x's type."""
    return dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), None)


def quantized_dot_general(x: Array, kernel: QuantizedKernel) -> Array:
    """Eq. (1) in x's type: x [..., in] and a kernel of one layer, [out, in] → [..., out]."""
    narrow_type = kernel.qvalue.dtype
    if kernel.input_scale is None:
        tokens = narrow(x, narrow_type)
    else:
        # Element by element: a compiler does it where the activation is made.
        tokens = narrow_by(x, kernel.input_scale.reshape(()), narrow_type)
    # Sums leave the matmul in x's type where they can: 32 bits would be twice as much to move.
    sums = jnp.int32 if narrow_type == jnp.int8 else x.dtype
    # Inputs with inputs; there are no batches.
    product = jax.lax.dot_general(
        tokens.numbers,
        kernel.qvalue,
        (((x.ndim - 1,), (1,)), ((), ())),
        preferred_element_type=sums,
    )
    # A scale for each token (or one for all), and one for each output channel.
    channels = kernel.scale.reshape((1,) * (x.ndim - 1) + (-1,))
    scale = tokens.scale * channels
    return (product.astype(jnp.float32) * scale).astype(x.dtype)


def promote_dtype(
    x: Array,
    kernel: Array | WatchedKernel,
    bias: Array | None,
    *,
    dtype: Any,
) -> list[Any]:
    """flax's promotion to the compute type, which leaves a watched kernel alone."""
    if isinstance(kernel, WatchedKernel):
        x, bias = dtypes.promote_dtype(x, bias, dtype=dtype)
        return [x, kernel, bias]
    return dtypes.promote_dtype(
        x,
        kernel,
        bias,
        dtype=dtype,
    )


def check_quantize(type_name: str, device: jax.Device) -> None:
    """Warns of fp8 on a CPU.

    Raises InputError if the name is not one of CHOICES, or if the GPU's or TPU's matrix units lack
    the type.
    """
    if type_name not in CHOICES:
        raise InputError(f"quantize {type_name!r} is not known; choose one of {', '.join(CHOICES)}")
    if type_name == "fp8" and device.platform == "cpu":
        logging.warning(
            "quantize fp8: a processor only imitates it: the same numbers, but slower than without"
        )
    elif type_name != "none" and not _has_units(type_name, device):
        instead = "int8 or none" if type_name == "fp8" else "none"
        raise InputError(
            f"quantize {type_name}: {device.device_kind} has no such matrix units; choose {instead}"
        )


def _has_units(type_name: str, device: jax.Device) -> bool:
    """Whether the device multiplies numbers of this type."""
    if device.platform == "cpu":
        return True
    if device.platform == "tpu":
        return type_name == "int8" or device.device_kind.startswith(_FP8_TPUS)
    capability = device_capability(device)
    return capability is not None and capability >= _CAPABILITY[type_name]
