"""Floating-point operations of a traced function.

2·m·n·k for every matmul, the same for convolutions, nothing for the rest. Loops of known length
count as often as they run and a choice as its costliest branch, which XLA's own analysis does not
do. A part whose work depends on values (attention over a half-filled cache) has a formula instead:
train/flops.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from shotstream_jax.aot.compile import Program


def matmul_flops(f: Callable[..., Any], *args: Any) -> float:
    """The operations of one call f(*args); the arguments may be abstract."""
    return _of_jaxpr(jax.make_jaxpr(f)(*args).jaxpr)


def counted_program(name: str, jitted: Any, module: Any, *arguments: Any) -> Program:
    """A program whose first argument is a module, with its operations."""
    # The function itself: a jitted one may have options that only a call of its own can have.
    count = matmul_flops(functools.partial(jitted.__wrapped__, module), *arguments)
    return Program(name, jitted, (module, *arguments), count)


def _of_jaxpr(jaxpr: Jaxpr) -> float:
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: JaxprEqn) -> float:
    """The operations of one equation, those of the functions that it calls included."""
    name = equation.primitive.name
    params = equation.params
    if name == "dot_general":
        return _of_matmul(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    # Anything else works on single elements, or calls functions that may have matmuls.
    inner = [_of_jaxpr(jaxpr) for jaxpr in _inner_jaxprs(params)]
    if name == "cond":
        return max(inner)
    if name == "scan":
        return sum(inner) * params["length"]
    return sum(inner)


def _of_matmul(equation: JaxprEqn) -> float:
    """Two operations for each element of the result and each index that is summed over."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    # The sizes of the axes that are summed over, in the left operand.
    left = _aval(equation.invars[0])
    k = math.prod(left.shape[axis] for axis in contracted)
    return 2 * k * _aval(equation.outvars[0]).size


def _of_convolution(equation: JaxprEqn) -> float:
    """Two operations for each element of the result and each kernel weight that it sees."""
    # Each element of the result sees the kernel of one output channel.
    kernel = _aval(equation.invars[1])
    output_axis = equation.params["dimension_numbers"].rhs_spec[0]
    weights = kernel.size / kernel.shape[output_axis]
    return 2 * _aval(equation.outvars[0]).size * weights


def _aval(variable: Any) -> ShapedArray:
    """The shape and type of a variable."""
    return variable.aval


def _inner_jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The functions among an equation's parameters, single or in lists (the branches of a cond)."""
    for value in params.values():
        several = value if isinstance(value, tuple | list) else [value]
        for one in several:
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one
