"""A prompt → its embedding, by the text encoder (docs/method.md, section 2)."""

import functools

import jax
import jax.numpy as jnp
from absl import logging

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Float, Int, Params
from shotstream_jax.nn.apply import apply
from shotstream_jax.text.layerwise import encode_layerwise, on_host
from shotstream_jax.text.notes import Notes
from shotstream_jax.text.tokenizer import Tokenizer, Tokens, tokenize
from shotstream_jax.text.umt5 import UMT5


@functools.partial(jax.jit, static_argnames="text")
def encode_prompt(
    text: UMT5, params: Params, ids: Int[Array, "b l"], length: Int[Array, "b"]
) -> Float[Array, "b l e"]:
    """Token ids → embeddings, zero from `length` on. One program for all prompts."""
    return constrain(apply(text, params, ids, length), "b l c")


def warn_of_notes(notes: Notes, what: str) -> None:
    """Says what there is to say about a prompt; what: names it, like "shot 3"."""
    if notes.unknown:
        words = ", ".join(notes.unknown)
        logging.warning("%s has words that the vocabulary lacks: %s", what, words)
    if notes.swallowed:
        logging.warning(
            "%s: the global caption should end with a full stop: after %r the marker of the shot "
            "is not understood",
            what,
            notes.swallowed,
        )
    if notes.cut:
        logging.warning("%s: the prompt is too long, its last %d tokens were cut", what, notes.cut)


def embed_prompt(
    text: UMT5, params: Params, tokenizer: Tokenizer, prompt: str, length: int
) -> tuple[Tokens, Float[Array, "1 l e"]]:
    """One prompt's tokens, padded to `length`, and their embeddings, zero behind the valid ones.

    Tokens that do not fit are cut (text/notes says so).
    """
    tokens = tokenize(tokenizer, prompt, length)
    # A batch of one: ids [1, l], valid [1].
    ids = jnp.asarray(tokens.ids[None])
    valid = jnp.asarray([tokens.valid])
    encode = encode_layerwise if on_host(params) else encode_prompt
    return tokens, encode(text, params, ids, valid)
