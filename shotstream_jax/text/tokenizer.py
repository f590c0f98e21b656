"""Prompt text → token ids: cleaning as the text encoder was trained with, then its tokeniser (spec page 2)."""

import html
import pathlib
import re
from typing import NamedTuple, Protocol

import ftfy
import numpy as np
import tokenizers

from shotstream_jax.core.errors import InputError

PAD, END = 0, 1
_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Tokens(NamedTuple):
    """ids [length], zero-padded; valid: how many count (the end token included); cut: how many did not fit."""

    ids: np.ndarray
    valid: int
    cut: int


class Tokenizer(Protocol):
    """Anything that turns clean text into ids, without the end token."""

    def encode(self, text: str) -> list[int]: ...

    def unknown(self, text: str) -> list[str]:
        """The words that the vocabulary lacks, once each: it can only spell them in bytes."""


class ByteTokenizer:
    """UTF-8 bytes, shifted past the special tokens. For models that have no vocabulary of their own."""

    def encode(self, text: str) -> list[int]:
        return [byte + 3 for byte in text.encode("utf-8")]

    def unknown(self, text: str) -> list[str]:
        return []  # bytes are all that its models have seen


class FileTokenizer:
    """The checkpoint's own tokenizer.json (SentencePiece unigram)."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every kind of bad file
            raise InputError(f"{path} is no readable tokenizer.json: {error}") from None

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def unknown(self, text: str) -> list[str]:
        found = self._tokenizer.encode(text, add_special_tokens=False)
        spans = (
            span
            for piece, span in zip(found.tokens, found.offsets, strict=True)
            if _BYTE.fullmatch(piece)
        )
        return list(dict.fromkeys(text[first:stop].strip() for first, stop in spans))


def clean(text: str) -> str:
    """Mojibake repaired, HTML entities unescaped twice, white space runs folded to one blank, ends stripped."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip()


def tokenize(tokenizer: Tokenizer, text: str, length: int) -> Tokens:
    """Clean text as ids: at most length − 1 tokens, the end token, padding."""
    ids = tokenizer.encode(clean(text))
    kept = [*ids[: length - 1], END]
    padded = np.full(length, PAD, np.int32)
    padded[: len(kept)] = kept
    return Tokens(padded, len(kept), len(ids) - len(kept) + 1)
