"""Floating-point operations of a traced function: 2·m·n·k for every matmul and convolution in it, nothing for the rest.

Loops of known length count as often as they run and a choice as its costliest branch, which XLA's own analysis does not
do. A part whose work depends on values (attention over a half-filled cache) has a formula instead: train/flops.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def matmul_flops(f: Callable[..., Any], *args: Any) -> float:
    """Of one call; the arguments may be abstract."""
    return _of_jaxpr(jax.make_jaxpr(f)(*args).jaxpr)


def _of_jaxpr(jaxpr: Jaxpr) -> float:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        k = math.prod(equation.invars[0].aval.shape[d] for d in contracted)
        return 2 * k * equation.outvars[0].aval.size
    if name == "conv_general_dilated":
        kernel, dims = equation.invars[1].aval, params["dimension_numbers"].rhs_spec
        return 2 * equation.outvars[0].aval.size * kernel.size / kernel.shape[dims[0]]
    inner = [_of_jaxpr(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else [value]:
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one
