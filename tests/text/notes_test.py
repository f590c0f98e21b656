"""What a storyteller is told of a prompt, against cases counted by hand."""

import pytest

from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.progress import prompt_notes
from shotstream_jax.generate.stream import new_story
from shotstream_jax.text.tokenizer import ByteTokenizer, FileTokenizer

MODEL = load("tiny")
STORY = new_story(MODEL, "A cartoon about a green frog.")


# The miniature knows the drawn world's words, in lower case, and the marks . and ,
@pytest.mark.parametrize(
    ("caption", "unknown"),
    [
        ("The frog is dancing in the meadow.", ()),
        ("THE FROG, Dancing.", ()),
        ("The frog is cooking.", ("cooking",)),
        ("Cooking, cooking and a cooking hat.", ("Cooking", "cooking", "hat")),
        ("The frogs jump.", ("frogs",)),
        ("The frog's hat", ("frog's", "hat")),
        ("The frog-king jumps.", ("frog-king",)),
        ("Is the frog ... dancing?!", ("?", "!")),
        ("  The\tfrog\n is\u00a0dancing ", ()),
        ("The frog &amp; the fox", ("&",)),
        ("Le crapaud mangé", ("Le", "crapaud", "mangé")),
        ("Le crapaud mange\u0301", ("Le", "crapaud", "mangé")),
        ("カエル が 踊る", ("カエル", "が", "踊る")),
        ("🐸 frog", ("🐸",)),
        ("the fox and the fo", ("fo",)),
    ],
)
def test_unknown_words_are_the_users(caption, unknown):
    notes = prompt_notes(MODEL, STORY, caption)
    assert (notes.unknown, notes.swallowed, notes.cut) == (unknown, "", 0)


@pytest.mark.parametrize(
    ("global_caption", "unknown", "swallowed"),
    [
        ("", ("cooking", "hat"), ""),
        ("A green frog", ("cooking", "hat"), "frog"),
        ("A green frog.", ("cooking", "hat"), ""),
        ("A green frog. ", ("cooking", "hat"), ""),
        ("A green hat", ("hat", "cooking"), ""),
        ("A hut. A frog!", ("hut", "!", "cooking", "hat"), ""),
    ],
)
def test_the_global_captions_words_come_first(global_caption, unknown, swallowed):
    """And its last one runs into the marker of the shot if no mark stands between."""
    notes = prompt_notes(MODEL, new_story(MODEL, global_caption), "The frog is cooking a hat.")
    assert (notes.unknown, notes.swallowed) == (unknown, swallowed)


def test_what_is_cut_is_counted():
    """A word of the vocabulary is one token; the global caption and the marker have their own."""
    length = MODEL.preset.dit.text_len
    fits = max(n for n in range(length) if not prompt_notes(MODEL, STORY, "frog " * (n + 1)).cut)
    for more in (1, 2, 100, 3000):
        assert prompt_notes(MODEL, STORY, "frog " * (fits + 1 + more)).cut == more


def test_thousands_of_unknown_words_are_all_named():
    words = [f"w{number}" for number in range(3000)]
    assert prompt_notes(MODEL, STORY, " ".join(words)).unknown == tuple(words)


@pytest.mark.parametrize(
    "caption", ["", "  ", "&nbsp;", None, 7, b"frog", "a\0b", "\ud800", "x" * 20_001]
)
def test_what_is_no_caption_is_one_line(caption):
    with pytest.raises(InputError, match="the caption of shot 1") as error:
        prompt_notes(MODEL, STORY, caption)
    assert "\n" not in str(error.value)


def test_words_that_can_be_offered_are_known_as_they_are():
    words = MODEL.tokenizer.words()
    assert words == sorted(set(words)) and len(words) > 80
    for word in words:
        assert word.isalpha() and prompt_notes(MODEL, STORY, word).unknown == ()
        assert len(MODEL.tokenizer.encode(word)) == 1
    assert not {"cooking", "fo", "s", "▁frog"} & set(words)
    assert ByteTokenizer().words() == [] and ByteTokenizer().unknown("anything") == []


def test_unknown_words_lie_where_the_bytes_do():
    """Beside and between known ones, at both ends."""
    assert isinstance(MODEL.tokenizer, FileTokenizer)
    for text, unknown in (
        ("hat frog hut", ["hat", "hut"]),
        ("frog hat frog", ["hat"]),
        ("hat", ["hat"]),
        ("", []),
        ("frog,hat.frog", ["hat"]),
    ):
        assert MODEL.tokenizer.unknown(text) == unknown
