"""Values that callers give, in the types that the package computes with."""

import math
import operator
import os
import pathlib
from typing import Any

from shotstream_jax.core.errors import InputError


def whole_number(value: Any, name: str) -> int:
    """A whole number as Python's int; numpy's are taken too, truth values are not.

    Raises InputError, with its name, if it is none.
    """
    # Truth values are numbers to Python, but nobody means them.
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise InputError(f"{name} {value!r:.40} must be a whole number")


def number_between(value: Any, name: str, least: int, most: int) -> int:
    """As `whole_number`, from `least` to `most`."""
    message = f"{name} {value!r:.40} must be a whole number from {least} to {most}"
    try:
        number = whole_number(value, name)
    except InputError:
        raise InputError(message) from None
    if not least <= number <= most:
        raise InputError(message)
    return number


def finite_number(value: Any, name: str) -> float:
    """A number as Python's float; numpy's are taken too, truth values and texts are not.

    Raises InputError, with its name, if it is none, or not finite.
    """
    if not isinstance(value, bool | str | bytes):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise InputError(f"{name} {value!r:.40} must be a finite number")


def as_path(value: Any, what: str) -> pathlib.Path:
    """A path that was given as text or as a Path. Raises InputError, with what it is, if not."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        kind = type(value).__name__
        raise InputError(f"{what} must be a path as text, not {value!r:.40} ({kind})")
    if "\0" in os.fspath(value):
        raise InputError(f"{what} {value!r:.40} cannot be a path: it has a character 0")
    return pathlib.Path(value)
