"""A small vocabulary of whole words, for a model that is trained on few of them.

    ids    pad 0, end 1, unknown 2, a lone space 3, the 256 bytes, then the words of the texts, the frequent ones first

A unigram model (spec page 2), so that text/tokenizer reads it like any other. Lower case; every punctuation mark and
digit is a word of its own. Any other word is spelled in bytes, so that nothing is unknown. The library's own trainer
will not do: it only finds pieces that different words share, and gives another result every time.
"""

import math
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from shotstream_jax.core.errors import InputError

SPACE = "▁"
_RARE = -20.0  # log-probability of what stands for no word


def word_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """The tokeniser of the words in `texts`: at most `size` ids. The same texts give the same file, to the byte.

    Raises InputError if the words are too many.
    """
    normalizer = normalizers.Lowercase()
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            # A word is the same word after a blank, a full stop, or nothing.
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
        ]
    )
    counts = Counter(
        word for text in texts for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text))
    )
    counts.pop(SPACE, None)
    words = sorted(counts, key=lambda word: (-counts[word], word))
    special = ["<pad>", "</s>", "<unk>", SPACE, *(f"<0x{byte:02X}>" for byte in range(256))]
    if len(special) + len(words) > size:
        raise InputError(
            f"{len(words)} words and {len(special)} other ids do not fit into a vocabulary of {size}"
        )
    total = counts.total()
    vocabulary = [(piece, _RARE) for piece in special] + [
        (word, math.log(counts[word] / total)) for word in words
    ]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=True))
    made.normalizer, made.pre_tokenizer = normalizer, split
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(SPACE, "always")])
    return made
