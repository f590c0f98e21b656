"""Teacher forcing: one pass over all noisy chunks equals the stream with true history.

Gradients: tests/train/consistency_test.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.dit.forcing import Forced
from shotstream_jax.dit.student import Student
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.testing import DIT
from tests.dit.student_test import CHUNKS, MEMORIES, PARAMS, H, W, part, passes, story

NOISY = jnp.float32([[900.0, 40.0, 1000.0, 500.0], [300.0, 700.0, 0.0, 250.0]])  # a time a chunk


def streamed(params, student: Student, x, x_t, t, ids: FrameIds, text) -> jnp.ndarray:
    """Velocity of every noisy chunk, each true one committed before the next."""
    run = passes(student)
    caches = student.init_caches(x.shape[0], H, W)
    caches = run["prefill_context"](params, x[:, :4], part(ids, 0, 4), text, caches)
    found = []
    for i in range(t.shape[1]):
        frames = slice(2 * i, 2 * i + 2)
        chunk_ids = part(ids, 4 + 2 * i, 6 + 2 * i)
        v, caches = run["denoise"](params, x_t[:, frames], t[:, i], chunk_ids, caches)
        found.append(v)
        caches = run["commit"](params, x[:, 4:][:, frames], chunk_ids, caches)
    return jnp.concatenate(found, axis=1)


def forced(params, student: Student, x, x_t, t, ids: FrameIds, text) -> jnp.ndarray:
    """The same in one pass."""
    module = Forced(DIT, memory=student.memory)
    frame_times = jnp.repeat(t, 2, axis=1)
    return module.apply(params, x[:, :-2], x_t, frame_times, ids, text)


@pytest.mark.parametrize("name", MEMORIES)
def test_one_pass_is_the_stream_with_true_history(name):
    student = Student(DIT, memory=MEMORIES[name])
    x, ids, text = story(2, 2 * CHUNKS)
    x_t = jax.random.normal(jax.random.key(9), x[:, 4:].shape)
    rows = (student, x, x_t, NOISY, ids, text)
    whole = jax.jit(forced, static_argnums=1)(PARAMS, *rows)
    np.testing.assert_allclose(whole, streamed(PARAMS, *rows), atol=2e-5)


def test_a_shot_of_one_chunk_has_the_context_behind_it():
    student = Student(DIT, memory=MEMORIES["window"])
    x, ids, text = story(2, 2)
    rows = (student, x, x[:, 4:], NOISY[:, :1], ids, text)
    whole = jax.jit(forced, static_argnums=1)(PARAMS, *rows)
    np.testing.assert_allclose(whole, streamed(PARAMS, *rows), atol=2e-5)


def test_half_a_chunk_is_refused():
    x, ids, text = story(1, 3)
    module = Forced(DIT, memory=MEMORIES["global"])
    with pytest.raises(InputError, match="3 latent frames is not a multiple of the chunk, 2"):
        module.apply(PARAMS, x[:, :-2], x[:, 4:], jnp.zeros((1, 3)), ids, text)
