"""Self-forcing: the student learns from shots that it made (docs/method.md, section 4).

Chunk by chunk with both caches, by the steps of the live stream, but all chunks stop at one
denoising
step that was drawn: the x₀ predicted there is the chunk's sample. Before the clean pass puts it
into the local cache it is noised with the table's lowest σ. Only that last prediction of each chunk
carries gradient and caches never do, so

    ∇ Σ_chunks loss(chunk) = ∇ of one pass over all chunks, given the stopped caches            (1)

`rollout` runs without gradient; `replay` is the pass to differentiate, and gives the same x₀.
"""

import math

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, Int, Params, typechecked
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import FewSteps, Schedule, lift
from shotstream_jax.generate.shot import commit, denoise_steps, prefill
from shotstream_jax.memory.cache import KV, Caches
from shotstream_jax.nn.apply import apply


@flax.struct.dataclass
class Rollout:
    """A shot that the student has made.

    x_0: the sample. x_t: what its last pass saw.
    past: keys and values [layers, b, n, (C + f)·tokens, k] of the context and of every chunk, in
      order.
    """

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

    noise: of each chunk, entry 0 is the start, entry i is mixed in before step i, and the last one
      is for the commit.
    last: the step at which all chunks stop.
    """
    params, conditions = jax.lax.stop_gradient((params, conditions))
    b, chunks, _, _, height, width, _ = noise.shape
    memory = student.memory
    tokens = math.prod(student.cfg.grid(height, width))  # of a frame
    # A ring that is shorter than the shot overwrites its early chunks: then each chunk's keys and
    # values are also collected on the way.
    evicts = chunks * memory.chunk > memory.window

    # 1. The context and the captions go into fresh caches.
    caches = student.init_caches(b, height, width)
    context_ids = conditions.context_ids()
    caches = prefill(student, params, conditions.context, context_ids, conditions.text, caches)

    # 2. Chunk by chunk: denoise up to step `last`, noise the sample a little, commit it.
    ids = conditions.shot_ids(memory.chunk)

    def make_chunk(caches: Caches, noise: Array) -> tuple[Caches, tuple[Array, Array, KV | None]]:
        """One chunk: (caches after it, (x₀, x_t, its own keys and values))."""
        # x_0: [b, cf, h, w, c], as step `last` predicts it.
        x_0, x_t, caches = denoise_steps(student, params, noise[:-1], ids, caches, steps, last)
        # The first token of the chunk's place in the buffer; all stories have as many frames.
        slot = memory.slot(caches.fill)[0] * tokens
        # At t = 0 the table's lowest noise level is looked up, not zero.
        committed = schedule.add_noise(x_0, noise[-1], jnp.zeros(b))
        caches = commit(student, params, committed, ids, caches)
        own = None
        if evicts:
            own = caches.frames.part(slot, memory.chunk * tokens)
        return caches, (x_0, x_t, own)

    by_chunk = jnp.moveaxis(noise, 0, 2)  # [chunks, draws, b, cf, h, w, c]
    caches, (x_0, x_t, own) = jax.lax.scan(make_chunk, caches, by_chunk)

    # 3. The keys and values of the context and of all chunks, in order.
    context = memory.context * tokens
    if own is not None:
        past = _context_and_chunks(caches.frames, own, context)
    else:
        past = caches.frames.part(0, context + chunks * memory.chunk * tokens)
    made = Rollout(_join_chunks(x_0), _join_chunks(x_t), past)
    return jax.lax.stop_gradient(made)


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
    # The one step at which all chunks stopped.
    times, sigmas = steps.table
    t = jnp.asarray(times)[last]
    sigma = jnp.asarray(sigmas)[last]
    b, frames = made.x_t.shape[:2]
    ids = conditions.shot_ids(frames)
    # All chunks in one pass, each with the keys and values that it saw in the rollout.
    v = apply(
        student,
        params,
        made.x_t,
        jnp.full(b, t),
        ids,
        conditions.text,
        made.past,
        method="replay",
    )
    return made.x_t - lift(sigma, v) * v


def _context_and_chunks(cached: KV, chunks: KV, context: int) -> KV:
    """The context's keys and values of a cache, then the collected chunks'.

    chunks: stacked, [chunks, …]. context: tokens.
    """

    def join(first: Array, by_chunk: Array) -> Array:
        """One after the other."""
        return jnp.concatenate([first, *by_chunk], axis=cached.token_axis)

    return jax.tree.map(join, cached.part(0, context), chunks)


def _join_chunks(chunks: Array) -> Array:
    """[chunks, b, f, …] → [b, chunks·f, …]."""
    by_story = jnp.moveaxis(chunks, 0, 1)
    return by_story.reshape(by_story.shape[0], -1, *by_story.shape[3:])
