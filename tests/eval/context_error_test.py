"""The error with other contexts."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.data.rows import embedding_reader
from shotstream_jax.eval import context_error, teacher_error
from tests.train.material import make_checkpoint, make_dataset


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("context")
    data = make_dataset(folder / "data", clips=17, shots=2)
    return [f"--checkpoint={make_checkpoint(folder / 'model')}", f"--data={data}"]


def test_command(options, tmp_path, capsys):
    out = tmp_path / "context.json"
    context_error.main([*options, f"--out={out}"])
    result = json.loads(out.read_text())
    assert set(result) == {"own", "another", "none"}
    assert all(
        set(levels) == set(map(str, teacher_error.NOISE_LEVELS)) for levels in result.values()
    )
    own, another, none = (result[name]["0.8"] for name in ("own", "another", "none"))
    assert (
        own["ratio"] == own["low"] == own["high"] == 1.0 and own["clips"] == 16
    )  # whole batches only
    assert len({own["error"], another["error"], none["error"]}) == 3  # the context is read
    assert another["low"] <= another["ratio"] <= another["high"]
    assert len(capsys.readouterr().out.splitlines()) == 12


def test_another_context_is_the_row_befores(options):
    """Captions stay."""
    path = options[1].partition("=")[2]
    preset = open_checkpoint(options[0].partition("=")[2]).preset
    read_caption = embedding_reader(preset.dit.text_len)
    batch = next(teacher_error.later_shot_batches(path, preset, 8, read_caption))
    rolled = context_error.CONTEXTS["another"](batch.conditions)
    np.testing.assert_array_equal(rolled.context[1:], batch.conditions.context[:-1])
    np.testing.assert_array_equal(rolled.context[0], batch.conditions.context[-1])
    np.testing.assert_array_equal(rolled.text, batch.conditions.text)
    assert len(np.unique(batch.conditions.context, axis=0)) == len(
        batch.conditions.context
    )  # of as many clips
    nobody = context_error.CONTEXTS["none"](batch.conditions)
    assert not jnp.any(nobody.context) and jnp.all(nobody.ids.phase[:, -1] == 1)


def test_ratio_of_paired_clips():
    own = np.tile([[1.0], [3.0]], (20, 4))
    found = teacher_error.error_ratios(2 * own, own)
    assert found["0.3"] == {"error": 4.0, "ratio": 2.0, "low": 2.0, "high": 2.0, "clips": 40}


def test_mistakes(options, tmp_path):
    with pytest.raises(InputError, match="4 are needed"):
        context_error.main([*options, "--clips=3", f"--out={tmp_path / 'a.json'}"])
    with pytest.raises(InputError, match="was made for test, the checkpoint is tiny"):
        context_error.main(["--checkpoint=tiny", options[1], f"--out={tmp_path / 'a.json'}"])
    with pytest.raises(InputError, match="is not a data set"):
        context_error.main([options[0], f"--data={tmp_path}", f"--out={tmp_path / 'a.json'}"])
