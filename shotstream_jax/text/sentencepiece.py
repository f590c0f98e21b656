"""A SentencePiece model as a tokeniser of the `tokenizers` library, with the same ids.

A `spiece.model` is a protocol buffer, of which a few fields matter:

    1    a piece: 1 its text, 2 its score (log-probability), 3 its type
    2    how it was trained: 3 the kind of model (1 unigram), 24 whether blanks end words,
         35 whether unknown characters are spelled in bytes
    3    how text is normalised: 2 a table of characters, 3 a blank before the text, 4 extra blanks
         are removed, 5 blanks become ▁

Both libraries look for the pieces of the largest sum of scores. What is read here is what UMT5 is,
a unigram model; other kinds are refused. No library of SentencePiece's own is needed, and a folder
has a tokenizer.json whatever it was made from.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from shotstream_jax.core.errors import InputError

_NORMAL, _UNKNOWN, _USER_DEFINED, _BYTE = 1, 2, 4, 6  # types of pieces
_UNIGRAM = 1
_KINDS = {2: "BPE", 3: "word", 4: "character"}
_SPACE = "▁"
# Behind the names of pieces that no text may be taken for: blanks become ▁, so none ends in one.
_NO_TEXT = " "


class _Piece(NamedTuple):
    text: str
    score: float
    type: int


class _Spec(NamedTuple):
    """What of a model's two descriptions matters, with SentencePiece's defaults."""

    kind: int = _UNIGRAM
    blanks_end_words: int = 0
    bytes_for_unknown: int = 0
    characters: bytes = b""
    blank_before: int = 1
    fewer_blanks: int = 1
    visible_blanks: int = 1


def convert_sentencepiece(model: bytes, where: str) -> str:
    """The tokenizer.json of a SentencePiece model.

    where: names the model in messages. Raises InputError if it is damaged or none, or of a kind
    that is not read.
    """
    try:
        pieces, spec = _parse(model)
    except (ValueError, IndexError, struct.error) as error:
        raise InputError(f"{where} is not a SentencePiece model: {error}") from None
    reason = _what_is_wrong(pieces, spec)
    if reason:
        raise InputError(f"{where} is not a SentencePiece model that is read: {reason}")
    return _tokenizer(pieces, spec).to_str()


def _what_is_wrong(pieces: list[_Piece], spec: _Spec) -> str | None:
    """Why a model is not read; None if it is."""
    texts = [piece.text for piece in pieces]
    unknown = [piece for piece in pieces if piece.type == _UNKNOWN]
    if len(unknown) != 1:
        return f"{len(unknown)} of its {len(pieces)} pieces stand for what is unknown, not 1"
    if len(set(texts)) < len(texts):
        return "a piece is there twice"
    if spec.kind != _UNIGRAM:
        return f"it is a {_KINDS.get(spec.kind, 'unknown')} model, not a unigram"
    if any(piece.type == _USER_DEFINED for piece in pieces):
        return "it has pieces that its user has defined"
    if spec.blanks_end_words or not spec.visible_blanks:
        return "its blanks are not at the start of words"
    return None


def _tokenizer(pieces: list[_Piece], spec: _Spec) -> Any:
    """A tokenizers.Tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    # Marks such as the end token have ids, but are never found in a text.
    vocabulary = []
    for piece in pieces:
        is_text = piece.type in (_NORMAL, _BYTE)
        vocabulary.append((piece.text if is_text else piece.text + _NO_TEXT, piece.score))
    unknown = next(i for i, piece in enumerate(pieces) if piece.type == _UNKNOWN)
    tokenizer = Tokenizer(
        models.Unigram(vocabulary, unk_id=unknown, byte_fallback=bool(spec.bytes_for_unknown))
    )
    # Characters first, then blanks; only U+0020 is one.
    steps: list[Any] = []
    if spec.characters:
        steps.append(normalizers.Precompiled(spec.characters))
    if spec.fewer_blanks:
        steps.append(normalizers.Replace(Regex("^ +| +$"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    tokenizer.normalizer = normalizers.Sequence(steps)
    # The text stays whole, since a piece may have blanks in it.
    scheme = "always" if spec.blank_before else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement=_SPACE, prepend_scheme=scheme, split=False
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(_SPACE, scheme)]
    )
    return tokenizer


def _parse(model: bytes) -> tuple[list[_Piece], _Spec]:
    """The pieces in the order of their ids, and the descriptions. Raises ValueError."""
    pieces = []
    spec = _Spec()
    for number, value in _fields(model):
        # A piece of the vocabulary; their order gives the ids.
        if number == 1:
            pieces.append(_piece(_bytes(value)))
        # How it was trained: the kind of model, and what unknown characters become.
        if number == 2:
            trained = dict(_fields(_bytes(value)))
            spec = spec._replace(
                kind=_int(trained.get(3, _UNIGRAM)),
                blanks_end_words=_int(trained.get(24, 0)),
                bytes_for_unknown=_int(trained.get(35, 0)),
            )
        # How a text is prepared before it is cut into pieces.
        if number == 3:
            normalised = dict(_fields(_bytes(value)))
            spec = spec._replace(
                characters=_bytes(normalised.get(2, b"")),
                blank_before=_int(normalised.get(3, 1)),
                fewer_blanks=_int(normalised.get(4, 1)),
                visible_blanks=_int(normalised.get(5, 1)),
            )
    return pieces, spec


def _piece(message: bytes) -> _Piece:
    fields = dict(_fields(message))
    score = _bytes(fields.get(2, bytes(4)))
    return _Piece(
        text=_bytes(fields.get(1, b"")).decode("utf-8"),
        score=struct.unpack("<f", score)[0],
        type=_int(fields.get(3, _NORMAL)),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers and values of a message's fields. Raises ValueError if it is cut or none."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has the number 0")
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        lengths = {1: 8, 5: 4}
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in lengths:
            length = lengths[wire]
        else:
            raise ValueError(f"a field is of the unknown type {wire}")
        if at + length > len(message):
            raise ValueError("it is cut")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a text should")
    return value


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a text stands where a number should")
    return value
