"""The text encoder's matrices in 8 bits (core/narrow), widened layer by layer as they are used.

Kernels have a scale for each output channel, the table of embeddings one for each row. Activations
stay as they are: some of T5's are far too large beside the others to be rounded together.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.narrow import Narrow, narrow
from shotstream_jax.core.typing import Params

TEXT_DTYPES = ("same", "int8")
# The axis over which a matrix shares a scale, by the parameter's name.
SHARED_AXIS = {"kernel": -2, "embedding": -1}
_MOST_ROWS = 2**14  # of a table at a time

_round = functools.partial(jax.jit, static_argnames="axis")(
    functools.partial(narrow, dtype=jnp.int8)
)


def narrow_text(params: Params) -> Params:
    """Parameters in the host's memory, with the matrices as Narrow; in the host's memory too.

    The first device rounds, a piece of a matrix at a time.
    """

    def rounded(path: tuple[Any, ...], leaf: np.ndarray) -> np.ndarray | Narrow:
        """A matrix in 8 bits, any other parameter as it is."""
        axis = SHARED_AXIS.get(path[-1].key)
        if axis is None:
            return leaf
        # A layer of a stack, or some rows of the table.
        step = 1 if path[0].key == "blocks" else _MOST_ROWS
        pieces = []
        for first in range(0, leaf.shape[0], step):
            piece = _round(leaf[first : first + step], axis=axis)
            pieces.append(jax.tree.map(np.asarray, piece))
        joined: Any = jax.tree.map(lambda *arrays: np.concatenate(arrays), *pieces)
        return joined

    return jax.tree_util.tree_map_with_path(rounded, params)
