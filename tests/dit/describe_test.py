"""What a frame is like: the means of the keys that it has in the cache, and of queries."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit.describe import Describer
from shotstream_jax.dit.student import Student
from shotstream_jax.generate.shot import prefill
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.nn.apply import apply
from shotstream_jax.testing import DIT

CFG = dataclasses.replace(DIT, layers=6)  # the third one tells
ROWS, COLUMNS = 4, 6


@pytest.fixture(scope="module")
def student():
    """A student that sees one frame, its parameters, a frame and two captions."""
    student = Student(CFG, memory=MemoryConfig(context=1, chunk=1, window=2))
    latent = jax.random.normal(jax.random.key(1), (1, ROWS, COLUMNS, CFG.channels))
    text = jax.random.normal(jax.random.key(2), (2, CFG.text_len, CFG.text_dim))
    ids = FrameIds(jnp.ones((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.int32))
    caches = student.init_caches(1, ROWS, COLUMNS)
    inputs = (latent[None], ids, text[None], caches)
    init = jax.jit(Describer(CFG).init)
    params = init(jax.random.key(0), latent, jnp.zeros(1), text[:1])["params"]
    # A fresh model's gates are near 0: so that every layer counts.
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(3), a.shape), params)
    return student, params, inputs


@jax.jit
def described(params, frames, times, text):
    return apply(Describer(CFG), params, frames, times, text)


def test_keys_are_those_that_the_frame_has_in_the_cache(student):
    student, params, (context, ids, text, caches) = student
    filled = prefill(student, params, context, ids, text, caches)
    keys, _ = filled.frames.layer(2)  # [1, n, s, k]
    rows, columns = CFG.grid(ROWS, COLUMNS)
    mean = keys[:, :, : rows * columns].mean(axis=2).reshape(1, -1)
    _, found = described(params, context[0], jnp.zeros(1), text[0, :1])
    np.testing.assert_allclose(found, mean, atol=1e-5)


def test_frames_are_described_by_themselves(student):
    _, params, (context, _, text, _) = student
    times = jnp.array([0.0, 700.0])
    others = jnp.concatenate([context[0], 2 * context[0]])
    both = described(params, others, times, text[0])
    for row in range(2):
        one = slice(row, row + 1)
        alone = described(params, others[one], times[one], text[0, one])
        for mine, its in zip(alone, both, strict=True):
            np.testing.assert_allclose(mine[0], its[row], atol=1e-5)
    # Time and caption count.
    assert not np.allclose(both[0][0], both[0][1], atol=1e-2)
    other_caption = described(params, context[0], jnp.zeros(1), text[0, 1:])
    assert not np.allclose(other_caption[1][0], both[1][0], atol=1e-4)
