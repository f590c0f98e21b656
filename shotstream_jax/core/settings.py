"""The settings of jax that this package computes under, whatever its caller has set.

A caller may have 64-bit numbers (JAX_ENABLE_X64), strict type promotion, a transfer guard or a mesh
of its own (jax.set_mesh). Our programs are written for 32 bits and the standard rules, and lie on
our own meshes only: entry points put these in force inside, and leave the caller's as they were.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

T = TypeVar("T")


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """The package's own settings inside; also a decorator, `@own_settings()`."""
    config: Any = jax.config  # whose fields type checkers do not know
    with contextlib.ExitStack() as changed:
        # Only what differs: a setting that is entered is part of every program's key.
        if config.jax_enable_x64:
            changed.enter_context(jax.enable_x64(False))
        if config.jax_numpy_dtype_promotion != "standard":
            changed.enter_context(jax.numpy_dtype_promotion("standard"))
        if config.jax_transfer_guard not in (None, "allow"):
            changed.enter_context(jax.transfer_guard("allow"))
        if not jax.sharding.get_abstract_mesh().empty:
            changed.enter_context(jax.set_mesh(Mesh(np.empty((), object), ())))
        yield


def each_under_own_settings(made: Iterator[T]) -> Iterator[T]:
    """The same items, each of them made under `own_settings`; between two the caller's hold."""
    while True:
        with own_settings():
            try:
                item = next(made)
            except StopIteration:
                return
        yield item
