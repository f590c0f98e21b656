"""The compiled steps of one shot (spec page 3), pure functions of (parameters, state, noise).

    prefill → for each chunk: chunk_step → decode at once → commit (but for the last chunk)

No step's program depends on the shot, the chunk or the prompt. Only decoding has two variants, as a shot's first latent
frame gives one pixel frame and every later one several. The live generator and the scan below call the same steps.
"""

import functools

import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Float, Int, UInt8, typechecked
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import FewSteps, mix
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.text.encode import encode_prompt  # noqa: F401 (a step of the stream too)
from shotstream_jax.vae import codec
from shotstream_jax.vae.codec import Params, VaeStream
from shotstream_jax.vae.model import VAE

draw_noise = jax.jit(rng.chunk_noise, static_argnames="shape")


@functools.partial(jax.jit, static_argnames=("student", "batch", "height", "width"))
def new_caches(student: Student, batch: int, height: int, width: int) -> Caches:
    """Empty caches for a latent grid, each device's part made there."""
    return student.init_caches(batch, height, width)


@functools.partial(jax.jit, static_argnames="student", donate_argnames="caches")
def prefill(
    student: Student,
    params: Params,
    context: Float[Array, "b f h w c"],
    ids: FrameIds,
    text: Float[Array, "b slots l e"],
    caches: Caches,
) -> Caches:
    """Starts a shot: its context and captions into the caches, the earlier shot's frames out."""
    return student.apply({"params": params}, context, ids, text, caches, method="prefill_context")


@functools.partial(jax.jit, static_argnames=("student", "steps"), donate_argnames="caches")
@typechecked
def chunk_step(
    student: Student,
    params: Params,
    noise: Float[Array, "n b f h w c"],
    ids: FrameIds,
    caches: Caches,
    steps: FewSteps,
) -> tuple[Float[Array, "b f h w c"], Caches]:
    """Makes a chunk: at each step predict x₀, then re-noise it with fresh noise to the next t; the last x₀ stands.

    noise: entry 0 is the start, entry i is mixed in before step i.
    """
    x_0, _, caches = denoise_steps(
        student, params, noise, ids, caches, steps, len(steps.nominal) - 1
    )
    return constrain(x_0, "b f h w c"), caches


def denoise_steps(
    student: Student,
    params: Params,
    noise: Array,
    ids: FrameIds,
    caches: Caches,
    steps: FewSteps,
    last: int | Array,
) -> tuple[Array, Array, Caches]:
    """The steps 0 … last of a chunk: (x₀ as the last one predicts it, the x_t that it saw, caches).

    Streaming runs all of them; a training rollout stops at one that was drawn (then `last` is traced).
    """
    t, sigma = (jnp.asarray(column) for column in steps.table)

    def step(
        i: Array, carry: tuple[Array, Array, Array, Caches]
    ) -> tuple[Array, Array, Array, Caches]:
        x_t, _, _, caches = carry
        v, caches = student.apply(
            {"params": params}, x_t, jnp.full(x_t.shape[:1], t[i]), ids, caches, method="denoise"
        )
        x_0, following = x_t - sigma[i] * v, jnp.minimum(i + 1, len(t) - 1)
        return mix(x_0, noise[following], sigma[following]), x_t, x_0, caches

    start = (noise[0], noise[0], noise[0], caches)
    _, x_t, x_0, caches = jax.lax.fori_loop(0, last + 1, step, start)
    return x_0, x_t, caches


@functools.partial(jax.jit, static_argnames="student", donate_argnames="caches")
def commit(
    student: Student, params: Params, x_0: Float[Array, "b f h w c"], ids: FrameIds, caches: Caches
) -> Caches:
    """Puts a finished chunk into the local cache."""
    return student.apply({"params": params}, x_0, ids, caches, method="commit")


@functools.partial(jax.jit, static_argnames=("student", "steps"))
@typechecked
def generate_latents(
    student: Student,
    params: Params,
    noise: Float[Array, "chunks n b f h w c"],
    ids: FrameIds,
    caches: Caches,
    steps: FewSteps,
) -> Float[Array, "b frames h w c"]:
    """A whole shot's latents in one program, after prefill: a scan over the very steps of the live stream."""

    def chunk(caches: Caches, noise: Array) -> tuple[Caches, Array]:
        x_0, caches = chunk_step(student, params, noise, ids, caches, steps)
        return commit(student, params, x_0, ids, caches), x_0

    _, chunks = jax.lax.scan(chunk, caches, noise)
    return jnp.moveaxis(chunks, 0, 1).reshape(chunks.shape[1], -1, *chunks.shape[3:])


@jax.jit
def take_story(x: Float[Array, "b f h w c"], row: Int[Array, ""]) -> Float[Array, "1 f h w c"]:
    """One story's part of a chunk."""
    return jax.lax.dynamic_slice_in_dim(x, row, 1)


@functools.partial(jax.jit, donate_argnames="caches")
def put_story(caches: Caches, alone: Caches, row: Int[Array, ""]) -> Caches:
    """One story's caches into its place among several."""
    put = lambda axis: lambda whole, one: jax.lax.dynamic_update_slice_in_dim(whole, one, row, axis)  # noqa: E731
    frames, text = (
        jax.tree.map(put(1), getattr(caches, name), getattr(alone, name))
        for name in ("frames", "text")
    )
    return Caches(frames=frames, text=text, fill=put(0)(caches.fill, alone.fill))


Decoded = tuple[VaeStream, Float[Array, "b p y x 3"], UInt8[Array, "b p y x 3"]]


@functools.partial(jax.jit, static_argnames="vae")
def decode_first(vae: VAE, params: Params, z: Float[Array, "b f h w c"]) -> Decoded:
    """A shot's first chunk → (stream, frames in [−1, 1], the same as bytes)."""
    return _decoded(*codec.decode_first(vae, params, z))


@functools.partial(jax.jit, static_argnames="vae", donate_argnames="stream")
def decode_next(
    vae: VAE, params: Params, z: Float[Array, "b f h w c"], stream: VaeStream
) -> Decoded:
    """Each later chunk."""
    return _decoded(*codec.decode_next(vae, params, stream, z))


def _decoded(stream: VaeStream, frames: Array) -> Decoded:
    """On a mesh every device has its own rows of the pictures, from one call to the next."""
    stream, frames = jax.tree.map(lambda a: constrain(a, "b p y x c"), (stream, frames))
    return stream, frames, codec.to_uint8(frames)


@jax.jit
def take_frame(frames: Float[Array, "b p y x 3"], index: Int[Array, ""]) -> Float[Array, "b y x 3"]:
    """One decoded frame, before its bytes: context is encoded from the exact values."""
    return jax.lax.dynamic_index_in_dim(frames, index, axis=1, keepdims=False)


@functools.partial(jax.jit, static_argnames="vae")
def encode_frame(
    vae: VAE, params: Params, frame: Float[Array, "b y x 3"]
) -> Float[Array, "b h w c"]:
    """A context frame's latent."""
    return constrain(codec.encode_frame(vae, params, frame), "b h w c")
