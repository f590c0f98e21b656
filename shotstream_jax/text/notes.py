"""What a storyteller should know about a prompt before it is made into pictures."""

import re
from typing import NamedTuple

from shotstream_jax.text.tokenizer import Tokenizer, clean, tokenize


class Notes(NamedTuple):
    """About one shot's prompt.

    unknown: the user's words that the vocabulary lacks, once each, in the order of the text.
    swallowed: the global caption's last word, if the marker of the shot runs into it because no
      full stop stands between; else "".
    cut: how many tokens at the end do not fit.
    """

    unknown: tuple[str, ...]
    swallowed: str
    cut: int


def make_notes(
    tokenizer: Tokenizer, global_caption: str, caption: str, prompt: str, length: int
) -> Notes:
    """Notes about a prompt and the texts that it is made of; length: that fits, in tokens.

    The marker that a prompt has between the two captions is not the user's.
    """
    before = clean(global_caption)
    # Once each, in the order of the text.
    unknown = dict.fromkeys(tokenizer.unknown(before))
    unknown.update(dict.fromkeys(tokenizer.unknown(clean(caption))))
    # The marker follows at once: without a mark at its end the last word runs into it.
    swallowed = ""
    last = re.search(r"\w+$", before)
    if last and last[0] not in unknown and tokenizer.unknown(f"{last[0]}shot0:"):
        swallowed = last[0]
    return Notes(tuple(unknown), swallowed, tokenize(tokenizer, prompt, length).cut)
