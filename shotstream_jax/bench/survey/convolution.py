"""Section `convolution`: the decoder's causal 3×3×3 convolutions, at each shape that it has.

The shapes are seen as a later chunk's decoding is traced. The error is |out − exact| / |exact|,
where `exact` is the same layer in float32 with full precision, from the same rounded numbers.
"""

import collections
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotstream_jax.bench.parts import vae_parts
from shotstream_jax.bench.subject import BenchSubject
from shotstream_jax.bench.survey.survey import Survey
from shotstream_jax.core.typing import Array
from shotstream_jax.vae.layers import CausalConv


class ConvShape(NamedTuple):
    """Input [b, p, y, x, c] and output channels of a convolution."""

    inputs: tuple[int, ...]
    features: int


def convolution_section(survey: Survey) -> None:
    """Every shape: time and error; then what they come to in a chunk's decoding."""
    subject = survey.subject(parts=("dit", "vae"))
    shapes = decoder_convolutions(subject)
    total = 0.0
    # The ones that take the most come first.
    for shape in sorted(shapes, key=lambda shape: -shapes[shape] * conv_flops(shape)):
        with survey.attempt("convolution", _name(shape)):
            total += shapes[shape] * _measure(survey, shape, shapes[shape])
    survey.find("convolution", "all of a later chunk's", ms=1e3 * total)


def decoder_convolutions(subject: BenchSubject) -> dict[ConvShape, int]:
    """The shapes of the decoder's CausalConv layers for a later chunk, and how many have each."""
    seen: dict[ConvShape, int] = collections.Counter()

    def see(
        following: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        """Notes a call of the layer and lets it go on."""
        if isinstance(context.module, CausalConv) and context.method_name == "__call__":
            seen[ConvShape(args[0].shape, context.module.features)] += 1
        return following(*args, **kwargs)

    later = next(part for part in vae_parts(subject) if part.variant == "a later chunk")
    vae, *arguments = later.program.arguments
    # Traced anew: a function that was traced before would not call the layers.
    decode = later.program.jitted.__wrapped__
    with nn.intercept_methods(see):
        jax.eval_shape(lambda *arrays: decode(vae, *arrays), *arguments)
    return seen


def _measure(survey: Survey, shape: ConvShape, count: int) -> float:
    """Seconds of one convolution of this shape, of which there are `count`."""
    channels = shape.inputs[-1]
    x = jax.random.normal(jax.random.key(0), shape.inputs, survey.dtype)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, channels, shape.features))
    kernel = (kernel / (27 * channels) ** 0.5).astype(survey.dtype)
    params = {"kernel": kernel, "bias": jnp.zeros(shape.features)}
    # The two frames before the chunk.
    past = jax.random.normal(jax.random.key(2), (1, 2, *shape.inputs[2:]), survey.dtype)
    convolve = _layer(shape.features, survey.dtype)

    def error() -> float:
        """Of all of the output."""
        wide = jax.tree.map(lambda a: a.astype(jnp.float32), (params, past, x))
        with jax.default_matmul_precision("highest"):
            exact = _layer(shape.features, jnp.float32)(*wide)
        return float(_relative_error(convolve(params, past, x), exact))

    timing = survey.measure(
        "convolution",
        _name(shape),
        lambda: convolve(params, past, x),
        flops=conv_flops(shape),
        share=0.5,
        error=error,
        layers=count,
    )
    return timing.median if timing else 0.0


@jax.jit
def _relative_error(out: Array, exact: Array) -> Array:
    """|out − exact| / |exact|."""
    return jnp.linalg.norm(out.astype(jnp.float32) - exact) / jnp.linalg.norm(exact)


def _layer(features: int, dtype: Any) -> Callable[[Any, Array, Array], Array]:
    """The layer as a compiled function of parameters, the two frames before, and the chunk."""
    module = CausalConv(features, dtype)

    @jax.jit
    def convolve(params: Any, past: Array, x: Array) -> Array:
        """[b, p, y, x, c] → [b, p, y, x, features]."""
        variables = {"params": params, "stream": {"time": {"past": past}}}
        result: Any = module.apply(variables, x, mutable=["stream"])
        y, _ = result
        return y

    return convolve


def conv_flops(shape: ConvShape) -> float:
    """2 · outputs · weights of each."""
    *places, channels = shape.inputs
    return 2.0 * math.prod(places) * shape.features * 27 * channels


def _name(shape: ConvShape) -> str:
    _, frames, rows, columns, channels = shape.inputs
    return f"{frames}×{rows}×{columns}, {channels} to {shape.features}"
