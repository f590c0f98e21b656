"""Named random streams: every draw is a pure function of (seed, name, indices).

No key is split and handed on. Nothing below the programs that sample or train takes a key: noise is
an argument there, so that recorded noise can take its place.
"""

import zlib

import jax

from shotstream_jax.core.typing import AnyArray, Array, PRNGKey


def stream(
    root: PRNGKey,
    name: str,
    *indices: int | AnyArray,
) -> PRNGKey:
    """The key of one named stream, e.g. stream(root, "chunk_noise", shot, chunk)."""
    # The name enters as a number that is the same on every machine and in every run.
    key = jax.random.fold_in(root, zlib.crc32(name.encode()))
    for index in indices:
        key = jax.random.fold_in(key, index)
    return key


def chunk_noise(
    root: PRNGKey,
    story: int | Array,
    shot: int | Array,
    chunk: int | Array,
    shape: tuple[int, ...],
) -> Array:
    """All the noise that one chunk needs, float32 N(0, 1).

    Args:
        root: the seed's key.
        story, shot, chunk: numbers of the story, of its shot and of the shot's chunk, from 0.
        shape: [steps, b, f, h, w, c]. Entry 0 is the start, entry i the fresh noise mixed in before
            step i.
    """
    key = stream(root, "chunk_noise", story, shot, chunk)
    return jax.random.normal(key, shape)
