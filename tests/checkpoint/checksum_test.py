"""Checksums of parts: of values, whatever they are stored as."""

import dataclasses

import jax
import numpy as np
import pytest

from shotstream_jax.checkpoint import checksum
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.checksum import fingerprint, part_checksum
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


def test_a_fingerprint_tells_models_apart(tmp_path):
    """By any weight in the middle of a parameter and by how it streams, not by the storage."""
    model = tiny_model()
    save(model, tmp_path / "folder")
    save(model, tmp_path / "file", storage="file")
    own = fingerprint(open_checkpoint(tmp_path / "file"))
    assert len(own) == 16 and own == fingerprint(open_checkpoint(tmp_path / "folder"))
    assert load(tmp_path / "folder").fingerprint == own
    # As an adapter does: every row of a matrix, in every layer.
    dit = jax.tree.map(np.asarray, model.params["dit"])
    dit["blocks"]["ffn_in"]["kernel"] = dit["blocks"]["ffn_in"]["kernel"] + np.float32(1e-6)
    save(dataclasses.replace(model, params=model.params | {"dit": dit}), tmp_path / "merged")
    assert fingerprint(open_checkpoint(tmp_path / "merged")) != own
    # Another shot phase is another model.
    phase = dataclasses.replace(model.preset.dit, shot_phase=0.25)
    other = dataclasses.replace(model, preset=dataclasses.replace(model.preset, dit=phase))
    save(other, tmp_path / "phase")
    assert fingerprint(open_checkpoint(tmp_path / "phase")) != own
    # The format that is usual changes nothing.
    wide = dataclasses.replace(model.preset.video, width=24)
    other = dataclasses.replace(model, preset=dataclasses.replace(model.preset, video=wide))
    save(other, tmp_path / "wide")
    assert fingerprint(open_checkpoint(tmp_path / "wide")) == own


def test_what_is_no_path_is_no_checkpoint():
    for path in (b"tiny", 7, None):
        with pytest.raises(InputError, match="checkpoint must be a path as text"):
            load(path)


def test_the_shipped_models_fingerprints_stay():
    """Stories that are kept remember them."""
    assert fingerprint(open_checkpoint("tiny")) == "5a8047d392e67302"
    assert fingerprint(open_checkpoint("tiny-teacher")) == "5f6cd5e9f8f45352"
