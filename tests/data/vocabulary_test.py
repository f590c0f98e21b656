"""The miniature's tokeniser."""

from shotstream_jax.data.world import vocabulary
from shotstream_jax.data.world.plot import SUBSETS, WorldConfig
from shotstream_jax.data.world.story import make_story
from shotstream_jax.load import WEIGHTS
from shotstream_jax.presets import find_preset
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.tokenizer import FileTokenizer, tokenize

PATH = WEIGHTS / "tiny" / "tokenizer.json"


def test_the_shipped_one_is_made_of_the_worlds_captions(tmp_path):
    vocabulary.main(["--out", str(tmp_path / "made.json")])
    assert (tmp_path / "made.json").read_bytes() == PATH.read_bytes()


def test_a_story_is_told_in_whole_words_and_nothing_is_cut():
    preset, tokenizer = find_preset("tiny"), FileTokenizer(PATH)
    assert vocabulary.SIZE == preset.text.vocab
    scripts = [make_story(WorldConfig(subset), 3, "test", i).script for subset in SUBSETS for i in range(200)]
    for script in scripts:
        for shot, caption in enumerate(script.shots):
            tokens = tokenize(tokenizer, shot_prompt(script.global_caption, shot, caption), preset.dit.text_len)
            assert tokens.cut == 0
            assert min(tokens.ids[: tokens.valid - 1]) >= 260  # below are special ids and bytes
