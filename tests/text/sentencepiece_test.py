"""A SentencePiece model becomes a tokenizer.json with the same ids."""

import io
import random
import struct

import pytest
from tokenizers import Tokenizer

from shotstream_jax.core.errors import InputError
from shotstream_jax.text.sentencepiece import convert_sentencepiece
from shotstream_jax.text.tokenizer import END, FileTokenizer, check_tokenizer, tokenize

WORDS = ["frog", "dances", "the", "a", "bear", "naïve", "ｆｕｌｌ", "日本", "Ⅳ", "café", "quickly."]


def field(number: int, value: bytes | int | float) -> bytes:
    """A field of a protocol buffer; its number and lengths are below 128."""
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    if isinstance(value, int):
        key = number << 3
        return bytes([key & 0x7F | 0x80, key >> 7, value] if key > 127 else [key, value])
    return bytes([number << 3 | 2, len(value)]) + value


def piece(text: str, score: float, kind: int = 1) -> bytes:
    return field(1, field(1, text.encode()) + field(2, score) + field(3, kind))


MARKS = [piece("<pad>", 0.0, 3), piece("</s>", 0.0, 3), piece("<unk>", 0.0, 2)]
SMALL = b"".join([*MARKS, piece("▁a", -1.0), piece("▁fox", -2.0), piece("▁", -3.0)])


def test_a_model_written_by_hand(tmp_path):
    content = convert_sentencepiece(SMALL, "it").encode()
    check_tokenizer(content, 6, "it")
    (tmp_path / "tokenizer.json").write_bytes(content)
    tokens = tokenize(FileTokenizer(tmp_path / "tokenizer.json", 6), " a  fox a", 6)
    assert tokens.ids.tolist() == [3, 4, 3, END, 0, 0]
    # Marks are not found in a text.
    assert END not in FileTokenizer(tmp_path / "tokenizer.json").encode("</s> <pad>")
    with pytest.raises(InputError, match="ids up to 5, the text encoder's table has 5 rows"):
        check_tokenizer(content, 5, "it")
    with pytest.raises(InputError, match="ids up to 5"):
        FileTokenizer(tmp_path / "tokenizer.json", 5)


@pytest.mark.parametrize(
    "model, message",
    [
        (b"", "0 of its 0 pieces"),
        (bytes(99), "the number 0"),
        (SMALL[:-3], "it is cut"),
        (b"PK\x03\x04 a zip", "not a SentencePiece model"),
        (field(1, field(1, b"\xff")) + SMALL, "can't decode"),
        (SMALL + MARKS[2], "2 of its 7 pieces stand for what is unknown"),
        (SMALL + piece("▁a", -4.0), "a piece is there twice"),
        (SMALL + piece("frog", 0.0, 4), "its user has defined"),
        (SMALL + field(2, field(3, 2)), "it is a BPE model"),
        (SMALL + field(2, field(24, 1)), "not at the start of words"),
        (piece("<pad>", 0.0, 3) * 20, "0 of its 20 pieces"),
    ],
)
def test_what_is_no_model_is_named(model, message):
    with pytest.raises(InputError, match=message) as caught:
        convert_sentencepiece(model, "x/spiece.model")
    assert "x/spiece.model" in str(caught.value) and "\n" not in str(caught.value)


def test_another_models_marks_are_named():
    """LLaMA's order: unknown, start, end."""
    other = b"".join([piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3)])
    content = convert_sentencepiece(other + piece("▁a", -1.0), "it").encode()
    with pytest.raises(InputError, match=r"'<unk> ' for the id 0, UMT5's tokeniser '<pad>'"):
        check_tokenizer(content, 384, "it")


@pytest.mark.parametrize("in_bytes", [True, False], ids=["bytes", "unknown"])
def test_ids_are_those_of_sentencepiece(in_bytes):
    """Trained models, on words, on marks, and on characters that they have not seen."""
    library = pytest.importorskip("sentencepiece")
    draw = random.Random(0)
    lines = [" ".join(draw.choices(WORDS, k=8)) for _ in range(1000)]
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        vocab_size=340 if in_bytes else 90,
        model_type="unigram",
        byte_fallback=in_bytes,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    theirs = library.SentencePieceProcessor(model_proto=written.getvalue())
    ours = Tokenizer.from_str(convert_sentencepiece(written.getvalue(), "it"))
    for _ in range(500):
        marks = [*WORDS, "</s>", "<pad>", "<unk>", " "]
        characters = "abcdr oT<>/&é日ｆⅣ\t\u00a0\u200b▁ñ😀"
        for text in (
            " ".join(draw.choices(marks, k=6)),
            "".join(draw.choices(characters, k=draw.randint(0, 20))),
        ):
            assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text), text
