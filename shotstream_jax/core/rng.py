"""Named random streams: every draw is a pure function of (seed, name, indices).

No key is split and handed on. Nothing below the programs that sample or train takes a key: noise is
an argument there, so that recorded noise can take its place.

A seed is a whole number of 64 bits, and two seeds never give the same key. Types are given with
every draw, so that JAX_ENABLE_X64 changes no bit.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import AnyArray, Array, PRNGKey
from shotstream_jax.core.values import number_between

_LEAST = -(2**63)
_MOST = 2**63 - 1


def check_seed(seed: Any, name: str = "seed", least: int = _LEAST) -> int:
    """The seed as an int: any integer of 64 bits, numpy's too.

    name: what the error calls it. least: 0 where numpy draws, which knows no negative seeds.
    Raises InputError.
    """
    return number_between(seed, name, least, _MOST)


def seed_key(seed: int) -> PRNGKey:
    """The key that a seed stands for; from 0 to 2³² − 1 it is jax.random.key(seed).

    jax.random.key itself drops the higher bits, unless JAX_ENABLE_X64 is set.
    """
    # Two's complement: each of the 2⁶⁴ seeds has a key of its own.
    high, low = divmod(check_seed(seed) % 2**64, 2**32)
    return jax.random.wrap_key_data(jnp.array([high, low], jnp.uint32), impl="threefry2x32")


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
    return jax.random.normal(key, shape, jnp.float32)
