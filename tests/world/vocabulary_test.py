"""The miniature's tokeniser."""

import pytest

from shotstream_jax.checkpoint.checkpoint import WEIGHTS
from shotstream_jax.presets import find_preset
from shotstream_jax.text.encode import warn_of_notes
from shotstream_jax.text.notes import make_notes
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.tokenizer import FileTokenizer, tokenize
from shotstream_jax.world import vocabulary
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.story import make_story

PATH = WEIGHTS / "tiny" / "tokenizer.json"


def test_the_shipped_one_is_made_of_the_worlds_captions(tmp_path):
    vocabulary.main(["--out", str(tmp_path / "made.json")])
    assert (tmp_path / "made.json").read_bytes() == PATH.read_bytes()


def test_words_that_it_lacks():
    """Once each, as they were written; those in it in any case."""
    tokenizer = FileTokenizer(PATH)
    assert tokenizer.unknown("The FROG wakes. It wakes, and dänces in the meadow!") == [
        "wakes",
        "It",
        "dänces",
        "!",
    ]
    assert tokenizer.unknown("A cartoon about a frog.shot1:The frog is dancing on the beach.") == []
    # Whole, though a part of each is in the vocabulary.
    assert tokenizer.unknown("A frog-like, giraffe's 37 frogs") == [
        "frog-like",
        "giraffe's",
        "37",
        "frogs",
    ]


@pytest.mark.parametrize(
    "global_caption, caption, expected",
    [
        ("A cartoon about a frog.", "The frog jumps.", []),
        ("A cartoon about an ibex.", "The ibex and the frog-king jump.", ["ibex, frog-king"]),
        ("A cartoon about a frog", "The frog jumps.", ["end with a full stop: after 'frog'"]),
    ],
)
def test_warnings_have_the_users_words_only(caplog, global_caption, caption, expected):
    """Not those of the marker between the captions, whose number 6 no caption of its world has."""
    for shot in (0, 6):
        caplog.clear()
        prompt = shot_prompt(global_caption, shot, caption)
        notes = make_notes(FileTokenizer(PATH), global_caption, caption, prompt, 48)
        warn_of_notes(notes, f"shot {shot + 1}")
        assert len(caplog.messages) == len(expected)
        for message, words in zip(caplog.messages, expected, strict=True):
            assert words in message and message.startswith(f"shot {shot + 1}")


def test_a_story_is_told_in_whole_words_and_nothing_is_cut():
    """Cut are only some prompts of the full world, which the miniature does not know."""
    preset, tokenizer = find_preset("tiny"), FileTokenizer(PATH)
    assert vocabulary.SIZE == preset.text.vocab
    scripts = [
        (subset, make_story(WorldConfig(subset), 3, "test", i).script)
        for subset in SUBSETS
        for i in range(200)
    ]
    for subset, script in scripts:
        for shot, caption in enumerate(script.shots):
            tokens = tokenize(
                tokenizer, shot_prompt(script.global_caption, shot, caption), preset.dit.text_len
            )
            assert tokens.cut == 0 or subset == "full"
            assert min(tokens.ids[: tokens.valid - 1]) >= 260  # below are special ids and bytes


def test_the_words_that_can_be_offered():
    words = FileTokenizer(PATH).words()
    assert {"frog", "meadow", "dancing"} <= set(words)
    assert words == sorted(words) and all(word.isalpha() for word in words)
    assert FileTokenizer(PATH).unknown(" ".join(words)) == []
