"""A small vocabulary of whole words, for a model that is trained on few of them.

    ids    pad 0, end 1, unknown 2, a lone space 3, the 256 bytes, then the words of the texts, the
           most frequent first

It is a unigram model (docs/method.md, section 2), so that text/tokenizer reads it like any other.
Texts are in lower case, and every punctuation mark and digit is a word of its own. Any other word
is spelled in bytes, so that nothing is unknown.

The trainer of the `tokenizers` library cannot be used: it only finds pieces that different words
share, and its result differs from run to run.
"""

import math
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from shotstream_jax.core.errors import InputError

SPACE = "▁"

_UNKNOWN = 2
_RARE = -20.0  # log-probability of the ids that are not words


def word_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """The tokeniser of the words in `texts`, with at most `size` ids.

    The same texts give the same file, to the byte. Raises InputError if there are too many words.
    """
    normalizer = normalizers.Lowercase()
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            # A word is the same word after a blank, a full stop, or nothing.
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
        ]
    )

    # How often each word occurs. A lone space has an id of its own.
    counts: Counter[str] = Counter()
    for text in texts:
        normalized = normalizer.normalize_str(text)
        for word, _ in splitter.pre_tokenize_str(normalized):
            counts[word] += 1
    counts.pop(SPACE, None)

    tokenizer = Tokenizer(
        models.Unigram(_vocabulary(counts, size), unk_id=_UNKNOWN, byte_fallback=True)
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Metaspace(SPACE, "always"),
        ]
    )
    return tokenizer


def _vocabulary(counts: Counter[str], size: int) -> list[tuple[str, float]]:
    """Pieces and their log-probabilities, in the order of their ids."""
    byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    special = ["<pad>", "</s>", "<unk>", SPACE, *byte_pieces]
    needed = len(special) + len(counts)
    if needed > size:
        raise InputError(
            f"{len(counts)} words and {len(special)} other ids do not fit into a vocabulary of "
            f"{size}: ask for {needed} ids or more, or use fewer words"
        )
    vocabulary = [(piece, _RARE) for piece in special]

    # Words of equal frequency in the order of their letters.
    words = sorted(counts, key=lambda word: (-counts[word], word))
    total = counts.total()
    for word in words:
        vocabulary.append((word, math.log(counts[word] / total)))
    return vocabulary
