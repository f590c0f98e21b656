"""The error with other words."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.data.rows import token_reader
from shotstream_jax.eval import teacher_error, words_error
from shotstream_jax.world.plot import SUBSETS
from tests.train.material import make_checkpoint, make_dataset


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return make_checkpoint(folder / "model"), make_dataset(
        folder / "data", 8, 2, caption="{}: a bear"
    )


def test_command(folders, tmp_path):
    """Nothing is told of a place or an action, so that there is nothing to mistell."""
    out = tmp_path / "words.json"
    words_error.main([f"--checkpoint={folders[0]}", f"--data={folders[1]}", f"--out={out}"])
    result = json.loads(out.read_text())
    assert set(result) == {"own", "who", "where", "action"}
    assert result["own"] == result["where"] == result["action"]
    for told, wrong in zip(result["own"].values(), result["who"].values(), strict=True):
        assert told["clips"] == wrong["clips"] == 8 and told["error"] != wrong["error"]
        assert wrong["ratio"] == pytest.approx(wrong["error"] / told["error"], rel=1e-6)


def test_only_the_target_is_mistold(folders):
    checkpoint, data = folders
    opened = open_checkpoint(checkpoint)
    preset = opened.preset
    ids = token_reader(opened.tokenizer(), preset.dit.text_len)
    wrong_ids = words_error.with_changed_captions(ids, "who", SUBSETS["simple"])
    told, wrong = (
        next(teacher_error.later_shot_batches(data, preset, 4, texts)) for texts in (ids, wrong_ids)
    )
    assert jnp.any(told.conditions.text != wrong.conditions.text, axis=-1)[
        :, :2
    ].all()  # shot 0 and shot 1, the target
    mixed = words_error.with_target_prompt_of(told, wrong)
    np.testing.assert_array_equal(mixed.conditions.text[:, 0], told.conditions.text[:, 0])
    np.testing.assert_array_equal(mixed.conditions.text[:, 1], wrong.conditions.text[:, 1])
    np.testing.assert_array_equal(mixed.target, told.target)
    embedded = words_error.prompt_embedder(opened)(mixed).conditions.text
    assert embedded.shape == (*mixed.conditions.text.shape, preset.dit.text_dim)
    assert jnp.any(embedded[:, 1] != embedded[:, 0]) and not jnp.any(
        embedded[:, 2:]
    )  # no prompt there


def test_mistakes(folders, tmp_path):
    with pytest.raises(InputError, match="was made for test, the checkpoint is tiny"):
        words_error.main(
            ["--checkpoint=tiny", f"--data={folders[1]}", f"--out={tmp_path / 'a.json'}"]
        )
