"""The miniature's tokeniser."""

from shotstream_jax.checkpoint.checkpoint import WEIGHTS
from shotstream_jax.presets import find_preset
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
