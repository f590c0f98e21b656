"""Checksums of parts: of values, whatever they are stored as."""

import jax
import numpy as np
import pytest

from shotstream_jax.checkpoint import checksum
from shotstream_jax.checkpoint.checksum import params_checksum, part_checksum
from shotstream_jax.checkpoint.load import load_weights, save
from shotstream_jax.core.errors import InputError
from shotstream_jax.testing import tiny_model


def test_a_stored_part_and_its_parameters_have_one_checksum(tmp_path, monkeypatch):
    model = tiny_model()
    save(model, tmp_path / "a")
    save(tiny_model(seed=1), tmp_path / "b")
    for part in ("text", "vae"):
        stored = part_checksum(tmp_path / "a", part)
        assert len(stored) == 64
        assert stored == params_checksum(model.params[part])
        assert stored != part_checksum(tmp_path / "b", part)
        with monkeypatch.context() as patch:
            patch.setattr(checksum, "_PIECE_BYTES", 100)  # in many pieces
            assert part_checksum(tmp_path / "a", part) == stored


def test_the_storage_type_does_not_matter():
    """The shipped model's arrays are stored as float16."""
    params = load_weights("tiny", "text")
    assert part_checksum("tiny", "text") == params_checksum(params)
    params["embedding"] = np.asarray(params["embedding"]).copy()
    params["embedding"][0, 0] += 1
    assert part_checksum("tiny", "text") != params_checksum(params)


def test_a_shape_counts():
    a = {"x": np.arange(6.0, dtype=np.float32).reshape(2, 3)}
    assert params_checksum(a) != params_checksum(jax.tree.map(np.transpose, a))
    assert params_checksum(a) != params_checksum({"x": a["x"].reshape(3, 2)})
    assert params_checksum(a) != params_checksum({"y": a["x"]})


def test_a_part_that_is_missing():
    with pytest.raises(InputError, match="nowhere is neither a folder"):
        part_checksum("nowhere", "vae")
