"""Checksums of parts: of values, whatever they are stored as."""

import dataclasses

import numpy as np
import pytest

from shotstream_jax.checkpoint import checksum
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.checksum import part_checksum
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.core.errors import InputError
from shotstream_jax.testing import tiny_model


def checksum_of(folder, part: str) -> str:
    return part_checksum(open_checkpoint(folder), part)


def test_the_same_values_have_the_same_checksum(tmp_path, monkeypatch):
    model = tiny_model()
    save(model, tmp_path / "a")
    save(model, tmp_path / "file", storage="file")
    save(tiny_model(seed=1), tmp_path / "b")
    for part in ("text", "vae"):
        stored = checksum_of(tmp_path / "a", part)
        assert len(stored) == 64
        assert stored == checksum_of(tmp_path / "file", part)
        assert stored != checksum_of(tmp_path / "b", part)
        with monkeypatch.context() as patch:
            patch.setattr(checksum, "_PIECE_BYTES", 100)  # in many pieces
            assert checksum_of(tmp_path / "a", part) == stored


def test_the_storage_type_does_not_matter(tmp_path):
    """The shipped model's arrays are stored as float16, a saved copy's as float32."""
    model = load("tiny")
    save(model, tmp_path / "copy")
    assert checksum_of(tmp_path / "copy", "text") == checksum_of("tiny", "text")
    text = dict(model.params["text"])
    text["embedding"] = text["embedding"].at[0, 0].add(1)
    changed = dataclasses.replace(model, params=model.params | {"text": text})
    save(changed, tmp_path / "changed")
    assert checksum_of(tmp_path / "changed", "text") != checksum_of("tiny", "text")


def test_names_and_shapes_count():
    """The same numbers under another name, or in another shape, are another part."""

    class Stored:
        def __init__(self, array):
            self.shape = array.shape
            self.read = array.__getitem__

    class Fake:
        def __init__(self, **arrays):
            self.arrays = {(name,): Stored(array) for name, array in arrays.items()}

        def stored_arrays(self, part):
            return self.arrays

    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    fakes = [Fake(x=x), Fake(x=x.reshape(3, 2)), Fake(x=x.T.copy()), Fake(y=x)]
    assert len({part_checksum(fake, "vae") for fake in fakes}) == 4


def test_a_part_that_is_missing():
    with pytest.raises(InputError, match="nowhere is neither a folder"):
        checksum_of("nowhere", "vae")
