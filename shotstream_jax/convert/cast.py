"""Weights in another type, which must be able to hold them.

float16 ends at 65,504 and float8 at 448 or 57,344: what is larger would become infinite, and the
model's pictures noise.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from shotstream_jax.checkpoint.arrays import ArraySpec, StoredArray
from shotstream_jax.checkpoint.parts import ParamPath, PartToWrite, Piece, is_stacked
from shotstream_jax.convert.names import Lazy
from shotstream_jax.convert.stored import is_finite
from shotstream_jax.core.errors import InputError

_MOST_NAMED = 5


def cast_finite(array: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """An array in another type; None if finite values of it would not be finite there."""
    # numpy warns of what is found out below.
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype, copy=False)
    if array.dtype != dtype and not is_finite(cast) and is_finite(array):
        return None
    return cast


def too_large(names: list[str], dtype: np.dtype) -> InputError:
    """The error for weights that a type cannot hold."""
    named = ", ".join(names[:_MOST_NAMED])
    more = f", … ({len(names) - _MOST_NAMED} more)" if len(names) > _MOST_NAMED else ""
    return InputError(
        f"{dtype} cannot hold the values of {named}{more}: they would become infinite; "
        "bfloat16 holds them"
    )


def cast_lazy(name: str, array: Lazy, dtype: np.dtype) -> Lazy:
    """An array in another type when it is read, which raises InputError if it is too large."""

    def read() -> np.ndarray:
        """The array in its new type."""
        cast = cast_finite(np.asarray(array), dtype)
        if cast is None:
            raise too_large([name], dtype)
        return cast

    return Lazy(array.shape, dtype, read)


def cast_part(arrays: Mapping[ParamPath, StoredArray], dtype: np.dtype | None) -> PartToWrite:
    """A stored part in another type (None: in its own).

    Its pieces raise InputError, which names the parameters, for values that the type cannot hold.
    """
    specs = {}
    for path, stored in arrays.items():
        specs[path] = ArraySpec(stored.shape, dtype or stored.dtype)

    def pieces() -> Iterator[Piece]:
        """Each parameter, or each layer of a stacked one, read when it is its turn."""
        lost: list[str] = []
        for path, stored in arrays.items():
            for layer in _layers(path, stored):
                array = stored.read() if layer is None else stored.read(layer)
                cast = cast_finite(array, specs[path].dtype)
                if cast is None:
                    lost.append("/".join(path) + ("" if layer is None else f"[{layer}]"))
                # After the first that is lost, the others are only looked at.
                elif not lost:
                    yield Piece(path, layer, cast)
        if lost:
            raise too_large(lost, specs[path].dtype)

    return PartToWrite(specs, pieces)


def _layers(path: ParamPath, stored: StoredArray) -> Iterator[int | None]:
    """The numbers of a stacked parameter's layers; None for any other parameter."""
    if not is_stacked(path):
        yield None
        return
    yield from range(stored.shape[0])
