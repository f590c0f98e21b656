"""Self-forcing (spec page 4): the student makes a shot as it will in inference, and learns from what it made.

Chunk by chunk with both caches, by the steps of the live stream, but all chunks stop at one denoising step that was
drawn: the x₀ predicted there is the chunk's sample. Before the clean pass puts it into the local cache it is noised
with the table's lowest σ. Only that last prediction of each chunk carries gradient and caches never do, so

    ∇ Σ_chunks loss(chunk) = ∇ of one pass over all chunks, given the stopped caches            (1)

`rollout` runs without gradient; `replay` is the pass to differentiate, and gives the same x₀.
"""

import math

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import FewSteps, Schedule, lift
from shotstream_jax.generate.shot import commit, denoise_steps, prefill
from shotstream_jax.memory.cache import KV, Caches
from shotstream_jax.model import Params


@flax.struct.dataclass
class Rollout:
    """x_0: the sample; x_t: what its last pass saw. past: the keys and values of the context and of every chunk."""

    x_0: Float[Array, "b f h w c"]
    x_t: Float[Array, "b f h w c"]
    past: KV


@typechecked
def rollout(
    student: Student,
    params: Params,
    conditions: Conditions,
    noise: Float[Array, "b chunks draws cf h w c"],
    last: int | Int[Array, ""],
    steps: FewSteps,
    schedule: Schedule,
) -> Rollout:
    """Makes a shot; nothing in the result carries gradient.

    noise of a chunk: entry 0 is the start, entry i is mixed in before step i, and the last is for the commit.
    last: the step at which all chunks stop.
    """
    params, conditions = jax.lax.stop_gradient((params, conditions))
    b, chunks, _, _, height, width, _ = noise.shape
    ids = conditions.shot_ids(student.memory.chunk)
    caches = student.init_caches(b, height, width)
    caches = prefill(
        student, params, conditions.context, conditions.context_ids(), conditions.text, caches
    )
    tokens = math.prod(student.cfg.grid(height, width))
    evicts = chunks * student.memory.chunk > student.memory.window

    def chunk(caches: Caches, noise: Array) -> tuple[Caches, tuple[Array, Array, KV | None]]:
        x_0, x_t, caches = denoise_steps(student, params, noise[:-1], ids, caches, steps, last)
        slot = student.memory.slot(caches.fill)[0] * tokens
        committed = schedule.add_noise(x_0, noise[-1], jnp.zeros(b))
        caches = commit(student, params, committed, ids, caches)
        # A ring would have lost the early chunks by the end.
        own = _part(caches.frames, slot, student.memory.chunk * tokens) if evicts else None
        return caches, (x_0, x_t, own)

    caches, (x_0, x_t, own) = jax.lax.scan(chunk, caches, jnp.moveaxis(noise, 0, 2))
    context = student.memory.context * tokens
    if evicts:
        past = jax.tree.map(
            lambda a, o: jnp.concatenate([a[..., :context, :], _in_order(o)], 3), caches.frames, own
        )
    else:
        past = _part(caches.frames, 0, context + chunks * student.memory.chunk * tokens)
    return jax.lax.stop_gradient(Rollout(_joined(x_0), _joined(x_t), past))


@typechecked
def replay(
    student: Student,
    params: Params,
    conditions: Conditions,
    made: Rollout,
    last: int | Int[Array, ""],
    steps: FewSteps,
) -> Float[Array, "b f h w c"]:
    """The rollout's x₀ as a function of the parameters, eq. (1)."""
    t, sigma = (jnp.asarray(column)[last] for column in steps.table)
    frames, b = made.x_t.shape[1], made.x_t.shape[0]
    ids = conditions.shot_ids(frames)
    variables = {"params": params}
    v = student.apply(
        variables, made.x_t, jnp.full(b, t), ids, conditions.text, made.past, method="replay"
    )
    return made.x_t - lift(sigma, v) * v


def _part(kv: KV, start: int | Array, length: int) -> KV:
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, length, axis=3), kv)


def _in_order(chunks: Array) -> Array:
    """[chunks, layers, b, n, s, k] → [layers, b, n, chunks·s, k]."""
    return jnp.concatenate(list(chunks), axis=3)


def _joined(chunks: Array) -> Array:
    """[chunks, b, f, …] → [b, chunks·f, …]."""
    return jnp.moveaxis(chunks, 0, 1).reshape(chunks.shape[1], -1, *chunks.shape[3:])
