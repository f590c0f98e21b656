"""ShotStream in JAX: multi-shot video, streamed shot by shot while the story is being typed.

What is listed here is imported when it is first used, so that `import shotstream_jax` and
`shotstream --help` cost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for type checkers and editors
    from shotstream_jax.checkpoint.load import load
    from shotstream_jax.generate.asked import Shot
    from shotstream_jax.generate.side_by_side import stream_stories
    from shotstream_jax.generate.story import Story
    from shotstream_jax.generate.stream import Chunk, new_story, stream_generate, warm_up
    from shotstream_jax.presets import VideoFormat

__version__ = "0.2.0"

__all__ = [
    "Chunk",
    "Shot",
    "Story",
    "VideoFormat",
    "load",
    "new_story",
    "stream_generate",
    "stream_stories",
    "warm_up",
]

_HOMES = {
    "Chunk": "shotstream_jax.generate.stream",
    "Shot": "shotstream_jax.generate.asked",
    "Story": "shotstream_jax.generate.story",
    "VideoFormat": "shotstream_jax.presets",
    "load": "shotstream_jax.checkpoint.load",
    "new_story": "shotstream_jax.generate.stream",
    "stream_generate": "shotstream_jax.generate.stream",
    "stream_stories": "shotstream_jax.generate.side_by_side",
    "warm_up": "shotstream_jax.generate.stream",
}


def __getattr__(name: str) -> Any:
    """Imports a listed name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
