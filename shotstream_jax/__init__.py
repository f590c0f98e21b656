"""ShotStream in JAX: multi-shot video, streamed shot by shot while the story is still being typed."""

from shotstream_jax.checkpoint.load import load
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import (
    Chunk,
    new_story,
    stream_generate,
    stream_stories,
    warm_up,
)
from shotstream_jax.presets import VideoFormat

__all__ = [
    "Chunk",
    "Story",
    "VideoFormat",
    "load",
    "new_story",
    "stream_generate",
    "stream_stories",
    "warm_up",
]
