"""A prompt → its embedding, by the text encoder (docs/method.md, section 2)."""

import functools
import re

import jax
import jax.numpy as jnp
from absl import logging

from shotstream_jax.core.sharding import constrain
from shotstream_jax.core.typing import Array, Float, Int, Params
from shotstream_jax.nn.apply import apply
from shotstream_jax.text.layerwise import encode_layerwise, on_host
from shotstream_jax.text.tokenizer import Tokenizer, Tokens, clean, tokenize
from shotstream_jax.text.umt5 import UMT5


@functools.partial(jax.jit, static_argnames="text")
def encode_prompt(
    text: UMT5, params: Params, ids: Int[Array, "b l"], length: Int[Array, "b"]
) -> Float[Array, "b l e"]:
    """Token ids → embeddings, zero from `length` on. One program for all prompts."""
    return constrain(apply(text, params, ids, length), "b l c")


def warn_of_words(tokenizer: Tokenizer, global_caption: str, caption: str, what: str) -> None:
    """Says which of the user's words the vocabulary lacks; what: names the shot, like "shot 3".

    The marker that a prompt has between the two captions is not the user's.
    """
    words = tokenizer.unknown(clean(global_caption))
    for word in tokenizer.unknown(clean(caption)):
        if word not in words:
            words.append(word)
    if words:
        logging.warning("%s has words that the vocabulary lacks: %s", what, ", ".join(words))
    # The marker follows at once: without a mark at its end the last word runs into it.
    last = re.search(r"\w+$", clean(global_caption))
    if last and last[0] not in words and tokenizer.unknown(f"{last[0]}shot0:"):
        logging.warning(
            "%s: the global caption should end with a full stop: after %r the marker of the shot "
            "is not understood",
            what,
            last[0],
        )


def embed_prompt(
    text: UMT5, params: Params, tokenizer: Tokenizer, prompt: str, length: int, what: str
) -> tuple[Tokens, Float[Array, "1 l e"]]:
    """One prompt's tokens, padded to `length`, and their embeddings, zero behind the valid ones.

    Warns of tokens that do not fit and were cut. what: names the prompt in this warning, like
    "shot 3".
    """
    tokens = tokenize(tokenizer, prompt, length)
    if tokens.cut:
        logging.warning(
            "%s: the prompt is too long, its last %d tokens were cut (%d fit)",
            what,
            tokens.cut,
            length - 1,
        )
    # A batch of one: ids [1, l], valid [1].
    ids = jnp.asarray(tokens.ids[None])
    valid = jnp.asarray([tokens.valid])
    encode = encode_layerwise if on_host(params) else encode_prompt
    return tokens, encode(text, params, ids, valid)
