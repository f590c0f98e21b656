"""The compiled steps of one shot (docs/method.md, section 3), pure functions of their arguments.

    prefill → for each chunk: chunk_step → decode at once → commit (but for the last chunk)

No step's program depends on the shot, the chunk or the prompt. Only decoding has two variants: a
shot's first latent frame gives one pixel frame, every later one gives several. The live generator
and the scan below call the same steps.
"""

import functools

import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Float, Int, Params, UInt8, typechecked
from shotstream_jax.dit.student import Student
from shotstream_jax.flow.schedule import FewSteps, mix
from shotstream_jax.memory.cache import Caches, FrameIds
from shotstream_jax.nn.apply import apply
from shotstream_jax.vae import codec
from shotstream_jax.vae.codec import AnyDecoder, VaeStream
from shotstream_jax.vae.model import VAE

# The noise of one chunk, [steps, b, f, h, w, c] (core/rng).
draw_noise = jax.jit(rng.chunk_noise, static_argnames="shape")


@functools.partial(jax.jit, static_argnames=("student", "batch", "height", "width"))
def new_caches(student: Student, batch: int, height: int, width: int) -> Caches:
    """Empty caches for a latent grid; each device's part is made there."""
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
    """Starts a shot: its context and captions go into the caches, the earlier shot's frames out."""
    return apply(student, params, context, ids, text, caches, method="prefill_context")


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
    """Makes a chunk: each step predicts x₀ and adds fresh noise up to the next t.

    The last prediction stays.

    noise: entry 0 is the start, entry i is mixed in before step i.
    """
    last = len(steps.nominal) - 1
    x_0, _, caches = denoise_steps(student, params, noise, ids, caches, steps, last)
    return constrain(x_0, "b f h w c"), caches


def denoise_steps(
    student: Student,
    params: Params,
    noise: Float[Array, "n b f h w c"],
    ids: FrameIds,
    caches: Caches,
    steps: FewSteps,
    last: int | Array,
) -> tuple[Array, Array, Caches]:
    """The steps 0 … last of a chunk.

    Streaming runs all of them; a training rollout stops at a step that was drawn (then `last` is
    traced).

    Returns (x₀ as step `last` predicts it, the x_t that this step saw, caches).
    """
    # The nominal steps' times and noise levels, [n] each.
    times, sigmas = steps.table
    t = jnp.asarray(times)
    sigma = jnp.asarray(sigmas)

    def step(
        i: Array, carry: tuple[Array, Array, Array, Caches]
    ) -> tuple[Array, Array, Array, Caches]:
        """One denoising step: (next x_t, this x_t, x₀, caches)."""
        x_t, _, _, caches = carry
        # Predict x₀ from the velocity.
        batch_t = jnp.full(x_t.shape[:1], t[i])
        v, caches = apply(student, params, x_t, batch_t, ids, caches, method="denoise")
        x_0 = x_t - sigma[i] * v
        # Fresh noise up to the next step's level; after the last step nobody reads it.
        following = jnp.minimum(i + 1, len(t) - 1)
        next_x_t = mix(x_0, noise[following], sigma[following])
        return next_x_t, x_t, x_0, caches

    # x₀ and the x_t of the last step are only there after the first step: the noise stands in.
    start = (noise[0], noise[0], noise[0], caches)
    _, x_t, x_0, caches = jax.lax.fori_loop(0, last + 1, step, start)
    return x_0, x_t, caches


@functools.partial(jax.jit, static_argnames="student", donate_argnames="caches")
def commit(
    student: Student,
    params: Params,
    x_0: Float[Array, "b f h w c"],
    ids: FrameIds,
    caches: Caches,
) -> Caches:
    """Puts a finished chunk into the local cache."""
    return apply(student, params, x_0, ids, caches, method="commit")


@functools.partial(jax.jit, static_argnames="student", donate_argnames="caches")
def replace_captions(
    student: Student, params: Params, text: Float[Array, "b slots l e"], caches: Caches
) -> Caches:
    """Other captions for the rest of a shot: nothing else in the caches changes."""
    return apply(student, params, text, caches, method="replace_captions")


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
    """A whole shot's latents in one program, after prefill: a scan over the stream's steps."""

    def chunk(caches: Caches, noise: Array) -> tuple[Caches, Array]:
        """One chunk, denoised and committed."""
        x_0, caches = chunk_step(student, params, noise, ids, caches, steps)
        caches = commit(student, params, x_0, ids, caches)
        return caches, x_0

    _, chunks = jax.lax.scan(chunk, caches, noise)  # [chunks, b, f, h, w, c]
    # The chunks of each story one after the other: [b, chunks·f, h, w, c].
    by_story = jnp.moveaxis(chunks, 0, 1)
    return by_story.reshape(by_story.shape[0], -1, *by_story.shape[3:])


@jax.jit
def take_story(x: Float[Array, "b f h w c"], row: Int[Array, ""]) -> Float[Array, "1 f h w c"]:
    """One story's part of a chunk."""
    return jax.lax.dynamic_slice_in_dim(x, row, 1)


@functools.partial(jax.jit, donate_argnames="caches")
def put_story(caches: Caches, alone: Caches, row: Int[Array, ""]) -> Caches:
    """One story's caches into its place among several."""

    def put_row(whole: Array, one: Array) -> Array:
        """One story's slice into the whole."""
        return jax.lax.dynamic_update_slice_in_dim(whole, one, row, axis=1)

    return Caches(
        frames=jax.tree.map(put_row, caches.frames, alone.frames),
        text=jax.tree.map(put_row, caches.text, alone.text),
        fill=jax.lax.dynamic_update_slice_in_dim(caches.fill, alone.fill, row, axis=0),
    )


# Convolutions with channels last: else a GPU's compiler transposes around every one.
_CHANNELS_LAST = {"xla_gpu_force_conv_nhwc": True}

Decoded = tuple[VaeStream, Float[Array, "b p y x 3"], UInt8[Array, "b p y x 3"]]


@functools.partial(jax.jit, static_argnames="vae", compiler_options=_CHANNELS_LAST)
def decode_first_chunk(vae: AnyDecoder, params: Params, z: Float[Array, "b f h w c"]) -> Decoded:
    """A shot's first chunk → (decoder's state, frames in [−1, 1], the same frames as bytes)."""
    stream, frames = codec.decode_first(vae, params, z)
    return _split_over_rows(stream, frames)


@functools.partial(
    jax.jit,
    static_argnames="vae",
    donate_argnames="stream",
    compiler_options=_CHANNELS_LAST,
)
def decode_next_chunk(
    vae: AnyDecoder, params: Params, z: Float[Array, "b f h w c"], stream: VaeStream
) -> Decoded:
    """Each later chunk, given the decoder's state after the chunk before."""
    stream, frames = codec.decode_next(vae, params, stream, z)
    return _split_over_rows(stream, frames)


def _split_over_rows(stream: VaeStream, frames: Array) -> Decoded:
    """On a mesh every device has its own rows of the pictures, from one call to the next."""

    def split(a: Array) -> Array:
        """Rows of pictures over the devices."""
        return constrain(a, "b p y x c")

    stream = jax.tree.map(split, stream)
    frames = split(frames)
    return stream, frames, codec.to_uint8(frames)


@jax.jit
def join_pieces(pieces: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """(frames, the same as bytes) of a chunk that was decoded in pieces."""
    frames = jnp.concatenate([frames for frames, _ in pieces], axis=1)
    pixels = jnp.concatenate([pixels for _, pixels in pieces], axis=1)
    return constrain(frames, "b p y x c"), constrain(pixels, "b p y x c")


@jax.jit
def take_frame(frames: Float[Array, "b p y x 3"], index: Int[Array, ""]) -> Float[Array, "b y x 3"]:
    """One decoded frame, before its bytes: context is encoded from the exact values."""
    return jax.lax.dynamic_index_in_dim(frames, index, axis=1, keepdims=False)


@functools.partial(jax.jit, static_argnames="vae", compiler_options=_CHANNELS_LAST)
def encode_context_frame(
    vae: VAE, params: Params, frame: Float[Array, "b y x 3"]
) -> Float[Array, "b h w c"]:
    """A context frame's latent: the frame is encoded as a video of its own."""
    return constrain(codec.encode_frame(vae, params, frame), "b h w c")
