"""Array aliases, the legend of dimension letters, and the run-time checker of array signatures.

Legend, used in shape strings, in einsum letters and in shape comments:

    b batch (stories)       f latent frames         t tokens of a frame (or query tokens)
    n heads                 k head width            s key tokens
    d model width           l text tokens           e width of a text embedding
    h w latent grid         c channels              p y x pixel frames, rows, columns

Tokens that are still grouped by frame are `b f t d` (t tokens a frame); flat ones are `b s d` (s =
f·t tokens).
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16, jaxtyped

# A machine without the checker computes the same, unchecked.
try:
    from beartype import beartype as _checker
except ModuleNotFoundError:
    _checker = None  # type: ignore[assignment]

Array = jax.Array
# What a function takes that works on the host's numbers as well as on a device's.
AnyArray = jax.Array | np.ndarray
PRNGKey = jax.Array
# The type of an array's numbers as jax's functions take it: jnp.float32, np.dtype("float32").
DType = jax.typing.DTypeLike
# An array in a pytree, or what stands for it there: a numpy array, a shape, a sharding.
Leaf = Any
# A tree of parameters: nested dicts of module and parameter names, with arrays (or their shapes) at
# the leaves.
Params = dict[str, Any]

# Decorator: checks the annotated shapes and types of a function's arguments and result at run time.
# Under jit that happens once, while the function is traced.
typechecked = jaxtyped(typechecker=_checker)

__all__ = [
    "AnyArray",
    "Array",
    "Bool",
    "DType",
    "Float",
    "Int",
    "Leaf",
    "PRNGKey",
    "Params",
    "UInt8",
    "UInt16",
    "typechecked",
]
