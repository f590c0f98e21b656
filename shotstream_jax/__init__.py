"""ShotStream in JAX: multi-shot video, streamed shot by shot while the story is still being typed."""
