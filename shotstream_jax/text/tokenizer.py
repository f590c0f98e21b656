"""Prompt text → token ids (docs/method.md, section 2).

Cleaning as the text encoder was trained with, then its tokeniser.
"""

import bisect
import html
import pathlib
import re
from typing import Any, NamedTuple, Protocol

import numpy as np

from shotstream_jax.core.errors import InputError

PAD = 0
END = 1
_SPECIAL_IDS = 3  # of a byte tokeniser: padding, end, unknown
# A word with its apostrophes and hyphens, or a mark by itself.
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_WORD_BEGINS = "▁"  # SentencePiece's mark
_BYTE = re.compile("<0x[0-9A-F]{2}>")  # a piece that stands for one byte


class Tokens(NamedTuple):
    """A prompt as the text encoder takes it.

    ids: [length], zero-padded. valid: how many count, the end token included. cut: how many did not
    fit.
    """

    ids: np.ndarray
    valid: int
    cut: int


class Tokenizer(Protocol):
    """Anything that turns clean text into ids, without the end token."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The words that the vocabulary lacks, once each: it can only spell them in bytes."""
        ...

    def words(self) -> list[str]:
        """The whole words of the vocabulary in alphabetical order, to be offered to a writer."""
        ...


class ByteTokenizer:
    """UTF-8 bytes, shifted past the special tokens.

    For models that have no vocabulary of their own.
    """

    def encode(self, text: str) -> list[int]:
        """One id a byte."""
        return [byte + _SPECIAL_IDS for byte in text.encode("utf-8")]

    def unknown(self, text: str) -> list[str]:
        """None: bytes are all that its models have seen."""
        return []

    def words(self) -> list[str]:
        """None."""
        return []


class FileTokenizer:
    """The checkpoint's own tokenizer.json (SentencePiece unigram).

    rows: of the text encoder's table, into which all ids must fit. Raises InputError if the file
    cannot be read, or if one does not.
    """

    def __init__(self, path: pathlib.Path, rows: int | None = None) -> None:
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} is not a readable tokenizer.json: {error.strerror}") from None
        self._tokenizer = _read_tokenizer(content, str(path))
        # A file may say how long texts become: that is `tokenize`'s part.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if rows is not None:
            _check_ids(self._tokenizer, rows, str(path))

    def encode(self, text: str) -> list[int]:
        """One id a piece of the vocabulary."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def unknown(self, text: str) -> list[str]:
        """The words with pieces that stand for bytes, whole and in the text's order."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        # The text's places that are spelled in bytes; a piece of one byte is a part of a character.
        firsts = []
        stops = []
        for piece, (first, stop) in zip(found.tokens, found.offsets, strict=True):
            if _BYTE.fullmatch(piece):
                firsts.append(first)
                stops.append(stop)
        # The words that lie there, as the user wrote them.
        words = {}
        for word in _WORD.finditer(text):
            # The first place that ends within or behind the word: both are in the text's order.
            place = bisect.bisect_right(stops, word.start())
            if place < len(firsts) and firsts[place] < word.end():
                words[word[0]] = True
        return list(words)

    def words(self) -> list[str]:
        """The pieces that begin a word and are letters all through."""
        pieces = self._tokenizer.get_vocab(with_added_tokens=False)
        begun = {piece[1:] for piece in pieces if piece.startswith(_WORD_BEGINS)}
        return sorted(word for word in begun if word.isalpha())


def check_tokenizer(content: bytes, rows: int, where: str) -> None:
    """Checks a tokenizer.json for a text encoder with so many rows in its table.

    where: names it in messages. Raises InputError if it is none, if ids do not fit, or if padding
    and end do not have the ids that the encoder knows.
    """
    tokenizer = _read_tokenizer(content, where)
    for number, mark in ((PAD, "<pad>"), (END, "</s>")):
        found = tokenizer.id_to_token(number)
        if found is None or found.strip() != mark:
            raise InputError(
                f"{where} has {found!r} for the id {number}, UMT5's tokeniser {mark!r}: "
                "it is another model's"
            )
    _check_ids(tokenizer, rows, where)


def _check_ids(tokenizer: Any, rows: int, where: str) -> None:
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= rows:
        raise InputError(
            f"{where} has ids up to {largest}, the text encoder's table has {rows} rows: "
            "it is another model's tokeniser"
        )


def _read_tokenizer(content: bytes, where: str) -> Any:
    """A tokenizers.Tokenizer.

    The library is imported here, as models without a vocabulary do not need it.
    """
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises bare Exception for every kind of bad file
        raise InputError(f"{where} is not a readable tokenizer.json: {error}") from None


def clean(text: str) -> str:
    """The text as the encoder was trained to read it.

    Mojibake is repaired, HTML entities are unescaped twice, runs of white space become one blank,
    ends are stripped.
    """
    repaired = text
    # Printable ASCII without entities is never mojibake, and ftfy takes a while to import.
    is_plain = text.isascii() and text.isprintable() and "&" not in text
    if not is_plain:
        import ftfy

        repaired = ftfy.fix_text(text)
    # Twice, as texts of the web are often escaped twice.
    unescaped = html.unescape(html.unescape(repaired)).strip()
    return re.sub(r"\s+", " ", unescaped).strip()


def tokenize(
    tokenizer: Tokenizer,
    text: str,
    length: int,
) -> Tokens:
    """Clean text as ids: at most length − 1 tokens, the end token, padding."""
    ids = tokenizer.encode(clean(text))
    kept = [*ids[: length - 1], END]
    # Padded to a fixed length, so that all prompts run the same compiled program.
    padded = np.full(length, PAD, np.int32)
    padded[: len(kept)] = kept
    # The end token is not one of the text's.
    cut = len(ids) - (len(kept) - 1)
    return Tokens(ids=padded, valid=len(kept), cut=cut)
