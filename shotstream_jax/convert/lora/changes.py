"""What an adapter does to a parameter: the equations.

    W' = W + strength · scale · B·A                                                              (1)
    W' = W + strength · (m · V/‖V‖ − W),  V = W + scale · B·A, ‖·‖ of each output's row (DoRA)   (2)
    W' = W + strength · scale · D         for a whole difference D                               (3)
    W' = W + strength · (N − W)           for a parameter's new values N                         (4)

scale is alpha/rank (convert/lora/scales), and 1 for differences. All of it is float32.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from shotstream_jax.convert.names import Lazy
from shotstream_jax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class LowRank:
    """Eq. (1), or (2) with a magnitude.

    down: A [rank, in, …]; of a convolution in its kernel's shape. up: B [out, rank], axes of length
    1 may follow. magnitude: m, [out] and axes of length 1.
    """

    down: Lazy
    up: Lazy
    scale: float
    magnitude: Lazy | None = None

    @property
    def rank(self) -> int:
        """The number of rows of A."""
        return self.down.shape[0]

    def problem(self, shape: tuple[int, ...]) -> str:
        """Why it does not fit a parameter of this shape; empty if it does."""
        factors = f"{list(self.up.shape)}·{list(self.down.shape)} for weights {list(shape)}"
        if len(shape) < 2 or min(len(self.up.shape), len(self.down.shape)) < 2:
            return factors
        # B is a matrix, and A one whose columns are the kernel's entries, in its shape or in a row.
        up_fits = self.up.shape[:2] == (shape[0], self.rank) and _is_flat(self.up.shape[2:])
        in_shape = _without_ones(self.down.shape[1:]) == _without_ones(shape[1:])
        in_a_row = self.down.shape[1:] == (math.prod(shape[1:]),)
        if self.rank < 1 or not up_fits or not (in_shape or in_a_row):
            return factors
        if self.magnitude is not None and not _is_row_vector(self.magnitude.shape, shape):
            return f"a magnitude {list(self.magnitude.shape)} for weights {list(shape)}"
        return ""

    def apply(self, weights: np.ndarray, strength: float) -> np.ndarray:
        """W' [out, in, …], from W in float32."""
        down = np.asarray(self.down, np.float32).reshape(self.rank, -1)  # [rank, in·…]
        up = np.asarray(self.up, np.float32).reshape(-1, self.rank)  # [out, rank]
        product = np.float32(self.scale) * (up @ down)
        if self.magnitude is None:
            return weights + np.float32(strength) * product.reshape(weights.shape)

        # DoRA keeps the directions of the sum, and has the lengths itself.
        rows = weights.reshape(len(weights), -1) + product  # [out, in·…]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        # A row of zeros has no direction, and stays what it is.
        lengths[lengths == 0] = 1
        magnitude = np.asarray(self.magnitude, np.float32).reshape(-1, 1)
        changed = (magnitude / lengths * rows).reshape(weights.shape)
        return weights + np.float32(strength) * (changed - weights)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Eq. (3): D has the parameter's shape, but for axes of length 1."""

    values: Lazy
    scale: float = 1.0

    def problem(self, shape: tuple[int, ...]) -> str:
        """Why it does not fit a parameter of this shape; empty if it does."""
        return _shape_problem(self.values.shape, shape)

    def apply(self, weights: np.ndarray, strength: float) -> np.ndarray:
        """W', from W in float32."""
        difference = np.asarray(self.values, np.float32).reshape(weights.shape)
        return weights + np.float32(strength * self.scale) * difference


@dataclasses.dataclass(frozen=True)
class NewValues:
    """Eq. (4): N has the parameter's shape."""

    values: Lazy

    def problem(self, shape: tuple[int, ...]) -> str:
        """Why it does not fit a parameter of this shape; empty if it does."""
        return _shape_problem(self.values.shape, shape)

    def apply(self, weights: np.ndarray, strength: float) -> np.ndarray:
        """W', from W in float32."""
        new = np.asarray(self.values, np.float32).reshape(weights.shape)
        # At full strength exactly the new values.
        if strength == 1:
            return new
        return weights + np.float32(strength) * (new - weights)


AdapterChange = LowRank | Difference | NewValues


def check_fits(change: AdapterChange, name: str, shape: tuple[int, ...]) -> None:
    """Raises InputError unless a change is made of floats, and fits a parameter of this shape."""
    for array in added_arrays(change):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise InputError(f"the adapter of {name} is {array.dtype}, weights must be floats")
    problem = change.problem(shape)
    if problem:
        raise InputError(f"the adapter of {name} is {problem}")


def added_arrays(change: AdapterChange) -> list[Lazy]:
    """The arrays whose values a change adds or sets; not DoRA's magnitudes."""
    if isinstance(change, LowRank):
        return [change.down, change.up]
    return [change.values]


def _shape_problem(found: tuple[int, ...], shape: tuple[int, ...]) -> str:
    if _without_ones(found) == _without_ones(shape):
        return ""
    return f"{list(found)} for {list(shape)}"


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _is_flat(lengths: tuple[int, ...]) -> bool:
    return math.prod(lengths) == 1


def _is_row_vector(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether magnitudes are one for each output: [out], [out, 1, …]; of kernels [1, out, 1, …]."""
    if found[:1] == (shape[0],):
        return _is_flat(found[1:])
    is_kernel = len(shape) > 2 and len(found) == len(shape)
    return is_kernel and found[:2] == (1, shape[0]) and _is_flat(found[2:])
