"""The text encoder with its weights in the host's memory.

For each prompt the rows of its tokens are looked up on the host, and the layers' weights are sent
one after the other, each while the layer before it computes. So the device never has more than two
layers' weights, and every weight goes over the bus once a prompt. The numbers are UMT5's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array, Float, Int, Params
from shotstream_jax.nn.layers import RMSNorm
from shotstream_jax.text.umt5 import UMT5, UMT5Block, look_up, padding_scores, without_padding


def on_host(params: Params) -> bool:
    """Whether these parameters are in the host's memory."""
    return isinstance(jax.tree.leaves(params["embedding"])[0], np.ndarray)


def encode_layerwise(
    text: UMT5, params: Params, ids: Int[Array, "b l"], length: Int[Array, "b"]
) -> Float[Array, "b l e"]:
    """As text/encode.encode_prompt, for parameters in the host's memory."""
    x = jnp.asarray(look_up(params["embedding"], np.asarray(ids), text.dtype))  # [b, l, e]
    padding = padding_scores(ids.shape[1], length)
    before = x
    for layer in range(text.cfg.layers):
        # The layer before the last one is done, so that its weights are gone when these come.
        before.block_until_ready()
        weights = jax.device_put(_of_layer(params["blocks"], layer))
        before = x
        x = _run_layer(text, weights, x, padding)
    return _finish(text, params["norm_out"], x, length)


def _of_layer(blocks: Any, layer: int) -> Any:
    """One layer's parameters, views of those of all layers."""
    return jax.tree.map(lambda stacked: stacked[layer], blocks)


@functools.partial(jax.jit, static_argnames="text")
def _run_layer(text: UMT5, weights: Params, x: Array, padding: Array) -> Array:
    """One layer."""
    x, _ = UMT5Block(text.cfg, text.dtype).apply({"params": weights}, x, padding)
    return x


@functools.partial(jax.jit, static_argnames="text")
def _finish(text: UMT5, norm: Params, x: Array, length: Array) -> Array:
    """The last norm, and zeros for padding."""
    normed: Any = RMSNorm(text.cfg.eps).apply({"params": norm}, x)
    return without_padding(normed, length)
