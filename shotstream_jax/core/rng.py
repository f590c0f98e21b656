"""Named random streams. Every draw is a pure function of (seed, name, indices): no key is split and handed on.

Nothing below the drivers takes a key. Noise is an argument there, so recorded draws plug in.
"""

import zlib

import jax

from shotstream_jax.core.typing import AnyArray, Array, PRNGKey


def stream(root: PRNGKey, name: str, *indices: int | AnyArray) -> PRNGKey:
    """The key of one named stream, e.g. stream(root, "chunk_noise", shot, chunk)."""
    key = jax.random.fold_in(root, zlib.crc32(name.encode()))
    for index in indices:
        key = jax.random.fold_in(key, index)
    return key


def chunk_noise(
    root: PRNGKey, story: int | Array, shot: int | Array, chunk: int | Array, shape: tuple[int, ...]
) -> Array:
    """All the noise that one chunk needs, float32 N(0, 1).

    shape: [steps, b, f, h, w, c]. Entry 0 is the start, entry i the fresh noise mixed in before step i.
    """
    return jax.random.normal(stream(root, "chunk_noise", story, shot, chunk), shape)
