"""A head that says what each latent cell shows, from the tokens after an inner layer.

It is there in training only (docs/training.md): no published model has it.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array, DType, Float, typechecked
from shotstream_jax.nn.layers import LayerNorm, Linear


class TruthHead(nn.Module):
    """LayerNorm and Linear: a token → the classes of its patch² cells, in several maps.

    Attributes:
        classes: how many each map has.
        patch: edge of a token in latent cells.
        eps: of the norm.
        dtype: type of the matmul.
    """

    classes: tuple[int, ...]
    patch: int
    eps: float
    dtype: DType = jnp.float32

    @nn.compact
    @typechecked
    def __call__(
        self, tokens: Float[Array, "b f t d"], grid: tuple[int, int]
    ) -> list[Float[Array, "b f h w _"]]:
        """Logits of each map, [b, f, h, w, classes]. grid: rows and columns of tokens."""
        b, f = tokens.shape[:2]
        rows, columns = grid
        patch = self.patch
        every = sum(self.classes)  # logits of a cell
        normed = LayerNorm(self.eps, name="norm")(tokens)
        logits = Linear(patch**2 * every, dtype=self.dtype, name="linear")(normed)
        # A token holds its patch as (row, column, class); cells go to their places in the frame.
        cells = logits.astype(jnp.float32)
        cells = cells.reshape(b, f, rows, columns, patch, patch, every)
        cells = cells.transpose(0, 1, 2, 4, 3, 5, 6)
        cells = cells.reshape(b, f, rows * patch, columns * patch, every)
        # A split point behind the classes of every map but the last.
        return jnp.split(cells, np.cumsum(self.classes)[:-1], axis=-1)
