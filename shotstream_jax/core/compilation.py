"""The persistent compilation cache: a program compiled once on a machine is not compiled again."""

import os
import pathlib
from typing import Any

import jax


def cache_dir() -> pathlib.Path:
    """$SHOTSTREAM_CACHE_DIR, or shotstream_jax/xla in the user's cache folder."""
    chosen = os.environ.get("SHOTSTREAM_CACHE_DIR")
    if chosen:
        return pathlib.Path(chosen)
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(user, "shotstream_jax", "xla")


def use_persistent_cache() -> None:
    """Turns the cache on, unless jax_compilation_cache_dir has been set already."""
    config: Any = jax.config  # whose fields type checkers do not know
    if config.jax_compilation_cache_dir is None:
        config.update("jax_compilation_cache_dir", str(cache_dir()))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
