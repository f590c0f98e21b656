"""Array aliases, the dimension legend and the run-time checker of signatures.

Legend, used in shape strings, einsum letters and name suffixes:
    b batch · f latent frames · h w latent grid · t query tokens · s key tokens · n heads · k head dim · d width
    l text tokens · c channels · p pixel frames · y x pixels
Tokens that are still grouped by frame are `b f t d` (t tokens a frame); flat ones `b t d` (t = all tokens).
"""

from typing import Any

import jax
import numpy as np
from beartype import beartype
from jaxtyping import Bool, Float, Int, UInt8, jaxtyped

Array = jax.Array
AnyArray = jax.Array | np.ndarray
PRNGKey = jax.Array
Params = dict[str, Any]  # a tree of parameters by name
# An array in a pytree, or what stands for it there: a numpy array, a shape, a sharding.
Leaf = Any

typechecked = jaxtyped(typechecker=beartype)

__all__ = [
    "AnyArray",
    "Array",
    "Bool",
    "Float",
    "Int",
    "Leaf",
    "PRNGKey",
    "Params",
    "UInt8",
    "typechecked",
]
