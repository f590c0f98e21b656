"""The persistent compilation cache: a program compiled once on a machine is not compiled again."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
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


@contextlib.contextmanager
def counted_compilations() -> Iterator[dict[str, int]]:
    """Counts what the persistent cache had ("fetched") and lacked ("compiled") inside."""
    counts = {"fetched": 0, "compiled": 0}
    kinds = {
        "/jax/compilation_cache/cache_hits": "fetched",
        "/jax/compilation_cache/cache_misses": "compiled",
    }

    def count(event: str, **_: Any) -> None:
        """One event of jax's."""
        if event in kinds:
            counts[kinds[event]] += 1

    jax.monitoring.register_event_listener(count)
    yield counts
    # jax has no public way to take a listener away: from here on it counts for nobody.
    kinds.clear()
