"""The persistent compilation cache: a program compiled once on a machine is not compiled there again."""

import os
import pathlib

import jax


def cache_dir() -> pathlib.Path:
    """$SHOTSTREAM_CACHE_DIR, or shotstream_jax/xla in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(
        os.environ.get("SHOTSTREAM_CACHE_DIR") or os.path.join(base, "shotstream_jax", "xla")
    )


def use_persistent_cache() -> None:
    """Turns the cache on, unless the caller has already chosen a place (jax_compilation_cache_dir)."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
