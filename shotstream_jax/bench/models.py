"""Models for measuring: random weights, or nothing but shapes. No checkpoint is read."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from shotstream_jax.core.sharding import param_shardings, with_shardings
from shotstream_jax.core.typing import Array, DType
from shotstream_jax.generate import shot
from shotstream_jax.model import PARTS, Model, Params, compute_params, init_decoder, init_part
from shotstream_jax.nn.quantize import quantize_blocks
from shotstream_jax.presets import Preset, decoder_config
from shotstream_jax.text.tokenizer import ByteTokenizer
from shotstream_jax.vae.codec import AnyDecoder
from shotstream_jax.vae.config import DecoderConfig, VAEConfig


def random_model(preset: Preset, dtype: DType, mesh: Mesh, quantize: str) -> Model:
    """A model with fresh weights, each made where it lies on the mesh.

    dtype: of its matmuls. quantize: the 8-bit form of its blocks' Linears, or "none".
    """
    abstract = abstract_model(preset, dtype, mesh, quantize)
    params: Params = {}
    for part in PARTS:
        # Each device makes its own slices only.
        places = jax.tree.map(lambda leaf: leaf.sharding, abstract.params[part])
        make = jax.jit(_fresh(preset, part, dtype, quantize), out_shardings=places)
        params[part] = make()
    return Model(preset, params, ByteTokenizer(), dtype, "random")


def abstract_model(preset: Preset, dtype: DType, mesh: Mesh, quantize: str) -> Model:
    """A model whose parameters are shapes with their shardings; arguments as random_model's."""
    params: Params = {}
    for part in PARTS:
        shapes = jax.eval_shape(_fresh(preset, part, dtype, quantize))
        params[part] = with_shardings(shapes, param_shardings(mesh, part, shapes))
    return Model(preset, params, ByteTokenizer(), dtype, "abstract")


def smaller_decoders(vae: VAEConfig) -> dict[str, DecoderConfig]:
    """The public decoders that are smaller than a model's own and read its latents, by kind.

    Of the two tiny ones, whose programs are the same but for the latents' scale, the first.
    """
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


def decoder_params(cfg: DecoderConfig, dtype: DType, mesh: Mesh, abstract: bool) -> Params:
    """A decoder's fresh weights where they lie on the mesh, or their shapes with the shardings."""

    def fresh() -> Params:
        """In the types that a pass computes with."""
        return compute_params(init_decoder(cfg, jax.random.key(0)), dtype)

    shapes = jax.eval_shape(fresh)
    places = param_shardings(mesh, "decoder", shapes)
    if abstract:
        return with_shardings(shapes, places)
    return jax.jit(fresh, out_shardings=places)()


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


def _fresh(preset: Preset, part: str, dtype: DType, quantize: str) -> Callable[[], Any]:
    """What makes a part's fresh parameters in the types that a pass computes with."""

    def fresh() -> Params:
        """The part's parameters."""
        params = compute_params(init_part(preset, part, jax.random.key(0)), dtype)
        if part == "dit":
            return quantize_blocks(params, quantize)
        return params

    return fresh
