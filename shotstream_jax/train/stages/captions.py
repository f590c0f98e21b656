"""Captions of a batch as embeddings, by a text encoder in training."""

import dataclasses

import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Float, Int, Params
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.nn.apply import apply
from shotstream_jax.text.tokenizer import PAD
from shotstream_jax.text.umt5 import UMT5


def embed_captions(encoder: UMT5, params: Params | None, conditions: Conditions) -> Conditions:
    """Conditions whose token ids a text encoder in training has embedded.

    params: of the text encoder; None where it is frozen, and the captions are embedded already.
    """
    if params is None:
        return conditions
    text = embed_tokens(encoder, params, conditions.text)
    return dataclasses.replace(conditions, text=text)


def embed_tokens(
    encoder: UMT5, params: Params, ids: Int[Array, "b slots l"]
) -> Float[Array, "b slots l e"]:
    """The embedding of each slot's tokens; a slot without tokens has zeros."""
    # Every slot of every story is a row of the encoder.
    rows = ids.reshape(-1, ids.shape[-1])  # [b·slots, l]
    lengths = jnp.sum(rows != PAD, axis=-1)
    embeddings = apply(encoder, params, rows, lengths)
    return embeddings.reshape(*ids.shape, -1)
