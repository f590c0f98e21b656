"""Models for measuring: random weights, or nothing but shapes. No checkpoint is read."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, SingleDeviceSharding

from shotstream_jax.core.sharding import param_shardings, with_shardings
from shotstream_jax.core.typing import Array, DType
from shotstream_jax.generate import shot
from shotstream_jax.model import (
    PARTS,
    Model,
    Params,
    abstract_decoder,
    abstract_params,
    compute_params,
    fan_in,
)
from shotstream_jax.nn.quantize import LargestInputs, linear_name, quantize_blocks
from shotstream_jax.presets import Preset, decoder_config
from shotstream_jax.text.tokenizer import ByteTokenizer
from shotstream_jax.vae.codec import AnyDecoder
from shotstream_jax.vae.config import DecoderConfig, VAEConfig

_LARGEST_INPUT = 8.0  # of a Linear; a normed activation gets about as large
# A factor for each axis of an array, no two alike (those of the hash xxHash).
_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)


def random_model(
    preset: Preset, dtype: DType, mesh: Mesh | None, quantize: str, parts: Sequence[str] = PARTS
) -> Model:
    """A model with random weights, each made where it lies on the mesh; None: the first device.

    Fresh ones would not do: half of an untrained autoencoder's kernels are zeros, which a GPU
    multiplies faster than other numbers.

    dtype: of its matmuls. quantize: the 8-bit form of its blocks' Linears, or "none". parts: that
    are made; a pass of another one fails.
    """
    params: Params = {}
    for part in parts:
        drawn = _drawn(preset, part, dtype, quantize)
        places: Any = SingleDeviceSharding(jax.devices()[0])
        if mesh is not None:
            # Each device makes its own slices only.
            places = param_shardings(mesh, part, jax.eval_shape(drawn))
        params[part] = jax.jit(drawn, out_shardings=places)()
    return Model(preset, params, ByteTokenizer(), dtype, "random")


def abstract_model(preset: Preset, dtype: DType, mesh: Mesh, quantize: str) -> Model:
    """A model whose parameters are shapes with their shardings; arguments as random_model's."""
    params: Params = {}
    for part in PARTS:
        shapes = jax.eval_shape(_drawn(preset, part, dtype, quantize))
        params[part] = with_shardings(shapes, param_shardings(mesh, part, shapes))
    return Model(preset, params, ByteTokenizer(), dtype, "abstract")


def smaller_decoders(vae: VAEConfig) -> dict[str, DecoderConfig]:
    """The public decoders that are smaller than a model's own and read its latents, by kind.

    Of the two tiny ones, whose programs are the same but for the latents' scale, the first.
    """
    # A decoder fits if its pictures lie as the model's own do.
    found = {}
    for kind in ("lightvae", "taehv"):
        cfg = decoder_config(kind, vae)
        if isinstance(cfg, VAEConfig):
            fits = cfg.dim < vae.dim
        else:
            fits = (cfg.space, cfg.time) == (vae.space, vae.time)
        if fits:
            found[kind] = cfg
    return found


def decoder_params(
    cfg: DecoderConfig, dtype: DType, mesh: Mesh | None, abstract: bool = False
) -> Params:
    """A decoder's random weights, each made where it lies on the mesh; None: the first device.

    abstract: their shapes with the shardings instead.
    """

    def drawn() -> Params:
        """In the types that a pass computes with."""
        return compute_params(_draw(abstract_decoder(cfg)), dtype)

    # Each device makes its own slices only.
    places: Any = SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(drawn)
    if mesh is not None:
        places = param_shardings(mesh, "decoder", shapes)
    if abstract:
        return with_shardings(shapes, places)
    return jax.jit(drawn, out_shardings=places)()


def empty_state(decoder: AnyDecoder, params: Params, z: Array) -> Callable[[], Any]:
    """What makes a decoder's state behind a first chunk, all zeros.

    Only its shapes are those of a decoding; the first call that is timed overwrites it.
    """
    # The function itself: a jitted one may have options that only a call of its own can have.
    first_chunk: Any = shot.decode_first_chunk
    decode = functools.partial(first_chunk.__wrapped__, decoder)

    def zeros() -> Any:
        """The state's arrays."""
        shapes, _, _ = jax.eval_shape(decode, params, z)
        return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    return zeros


def _drawn(preset: Preset, part: str, dtype: DType, quantize: str) -> Callable[[], Any]:
    """What makes a part's random parameters in the types that a pass computes with.

    8-bit ones have scales of a calibration that has seen inputs of the same size everywhere.
    """

    def drawn() -> Params:
        """The part's parameters."""
        params = compute_params(_draw(abstract_params(preset, part)), dtype)
        if part == "dit":
            return quantize_blocks(params, quantize, _even_inputs(params))
        return params

    return drawn


def _draw(shapes: Params) -> Params:
    """Random parameters, with the spread of model.random_params, which makes them on the host."""

    def draw(path: tuple[Any, ...], like: jax.ShapeDtypeStruct) -> jax.Array:
        """One parameter: gains 1, all else with variance 1/fan-in; biases are not 0 either."""
        names = [part.key for part in path]
        if names[-1] == "scale":
            return jnp.ones(like.shape, like.dtype)
        spread = 0.02 if names[-1] == "bias" else 1 / math.sqrt(fan_in(names, like.shape))
        return spread * scattered(like.shape)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _even_inputs(params: Params) -> LargestInputs:
    """Every Linear of the blocks has seen inputs up to the same size."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params["blocks"]):
        if path[-1].key == "kernel":
            found[linear_name(path)] = [_LARGEST_INPUT] * leaf.shape[0]
    return found


def scattered(shape: tuple[int, ...]) -> jax.Array:
    """Numbers of mean 0 and variance 1 that look random: each a hash of its place.

    It compiles faster than a generator of random numbers, and each device makes its own part.
    """
    # A number for each place, from its indices and large primes; sums wrap around at 2³².
    x = jnp.full(shape, 1, jnp.uint32)
    for axis, prime in zip(range(len(shape)), _PRIMES, strict=False):
        x = x + jnp.uint32(prime) * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    # The last steps of MurmurHash3 mix its bits.
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    x = x ^ (x >> 16)
    # Uniform in ±√3.
    return math.sqrt(3) * (x.astype(jnp.float32) / 2.0**31 - 1)
