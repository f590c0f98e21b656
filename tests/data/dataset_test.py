"""Records there and back; a folder that is not whole is refused."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import msgpack_restore, msgpack_serialize

from shotstream_jax.core.errors import InputError
from shotstream_jax.data import dataset as folders
from shotstream_jax.data.dataset import (
    Broken,
    Settings,
    check_made_by,
    open_dataset,
)
from shotstream_jax.data.records import ClipRecord, pack, unpack

SETTINGS = Settings(1, "test", 8, 12, 16, 4, 6, "float32", "tiny", "blur", "t.csv", "0" * 64, 2)


def record(
    name: str, lengths=(3, 1), dtype=np.float32, seed: int = 0, masks: bool = False
) -> ClipRecord:
    draw = np.random.default_rng(seed)
    stops = np.cumsum([9] * len(lengths))
    return ClipRecord(
        name,
        "Ein Fuchs im Schnee — 狐",
        tuple(f"shot {k}" for k in range(len(lengths))),
        np.stack([stops - 9, stops], axis=1),
        [draw.normal(size=(n, 4, 6, 4)).astype(np.float16) for n in lengths],
        [np.arange(k + 1) for k in range(len(lengths))],
        [draw.normal(size=(k + 1, 4, 6, 4)).astype(np.float16) for k in range(len(lengths))],
        [draw.normal(size=(5 + k, 20)).astype(dtype) for k in range(len(lengths))],
        [draw.uniform(size=(n, 4, 6)).astype(np.float16) for n in lengths] if masks else [],
    )


def same(a: ClipRecord, b: ClipRecord) -> None:
    for field in dataclasses.fields(ClipRecord):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if not isinstance(x, list):
            assert np.array_equal(x, y) and type(x) is type(y)
            continue
        for left, right in zip(x, y, strict=True):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left.astype(np.float64), right.astype(np.float64))


@pytest.mark.parametrize("dtype, masks", [(np.float32, False), (jnp.bfloat16, True)])
def test_round_trip(dtype, masks):
    clip = record("c", dtype=dtype, masks=masks)
    same(unpack(pack(clip)), clip)
    assert pack(unpack(pack(clip))) == pack(clip)


def test_a_record_of_before_there_were_masks():
    fields = msgpack_restore(pack(record("c")))
    del fields["masks"]
    same(unpack(msgpack_serialize(fields)), record("c"))


FEWER = dataclasses.replace(
    record("c"), masks=record("c", masks=True).masks[:1]
)  # a mask for one shot of two


@pytest.mark.parametrize(
    "data", [b"", b"\x00", pack(record("c"))[:-7], b"\x81\xa1a\x01", pack(FEWER)]
)
def test_damaged_bytes(data):
    with pytest.raises(InputError, match="record is damaged"):
        unpack(data)


@pytest.fixture
def folder(tmp_path):
    """Two shards: clips 0 and 2 with a broken one between them, clip 1."""
    folders.claim_folder(tmp_path, SETTINGS)
    folders.write_negative(tmp_path, np.ones((3, 20), jnp.bfloat16))
    first, second = SETTINGS.shards
    folders.write_shard(
        tmp_path, first, iter([record("c0"), Broken("c4", "cut off"), record("c2", (2,), seed=2)])
    )
    assert not folders.finish_dataset(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=r"is not complete: it has no dataset.json"):
        open_dataset(tmp_path)
    folders.write_shard(tmp_path, second, iter([record("c1", (1, 2, 3), seed=1)]))
    assert folders.finish_dataset(tmp_path, SETTINGS)
    assert not list(tmp_path.glob("*.partial"))
    return tmp_path


def test_a_folder(folder):
    data = open_dataset(folder)
    assert data.settings == SETTINGS and len(data) == 3
    assert [(c.name, c.shots) for c in data.clips] == [
        ("c0", (3, 1)),
        ("c2", (2,)),
        ("c1", (1, 2, 3)),
    ]
    assert data.broken == (Broken("c4", "cut off"),)
    assert data.negative.dtype == np.float32 and data.negative.shape == (3, 20)
    same(data.record(2), record("c1", (1, 2, 3), seed=1))
    same(data.record(0), record("c0"))
    for i in (-1, 3):
        with pytest.raises(InputError, match="has clips 0 to 2"):
            data.record(i)


def test_what_is_not_whole_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="is not a data set"):
        open_dataset(folder / "nowhere")
    meta = json.loads((folder / "dataset.json").read_text())
    shard = folder / f"{SETTINGS.shards[1]}.array_record"
    good = shard.read_bytes()
    shard.unlink()
    with pytest.raises(InputError, match=r"lacks shard-00001-of-00002.array_record"):
        open_dataset(folder)
    shard.write_bytes(good[:1000])
    with pytest.raises(InputError, match="is damaged"):
        open_dataset(folder)
    shard.write_bytes(good[:400] + bytes(4) + good[404:])
    with pytest.raises(InputError, match=r"clip c1 .* cannot be read .*hash mismatch"):
        open_dataset(folder).record(2)
    for change, message in [
        ({"format": 99}, "has format 99, this version reads 1"),
        ({"fps": "16"}, "fps must be int"),
    ]:
        (folder / "dataset.json").write_text(json.dumps(meta | change))
        with pytest.raises(InputError, match=message):
            open_dataset(folder)
    (folder / "dataset.json").write_text("[")
    with pytest.raises(InputError, match=r"dataset.json is damaged"):
        open_dataset(folder)


def test_an_error_leaves_no_half_shard(tmp_path):
    def results():
        yield record("c0")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folders.write_shard(tmp_path, "s", results())
    assert not list(tmp_path.iterdir())


def test_a_folder_of_before_there_were_checksums(folder):
    meta = json.loads((folder / "dataset.json").read_text())
    del meta["text_sha256"], meta["vae_sha256"]
    (folder / "dataset.json").write_text(json.dumps(meta))
    assert open_dataset(folder).settings == SETTINGS


def test_encoders_that_did_not_make_the_data_are_refused():
    made = dataclasses.replace(SETTINGS, text_sha256="a" * 64, vae_sha256="b" * 64)
    same = {"text": "a" * 64, "vae": "b" * 64}
    check_made_by(made, "out/teacher", same)
    other_text = {"text": "c" * 64, "vae": "b" * 64}
    with pytest.raises(InputError, match=r"text encoder a{12} .*tiny.*out/teacher.*--latents-from"):
        check_made_by(made, "out/teacher", other_text)
    check_made_by(made, "out/teacher", {"vae": "b" * 64})  # the text encoder does not matter
    other_vae = {"text": "a" * 64, "vae": "c" * 64}
    with pytest.raises(InputError, match=r"autoencoder b{12} .*: make it again by precompute"):
        check_made_by(made, "out/teacher", other_vae)
    check_made_by(SETTINGS, "out/teacher", other_vae)  # it does not know what made it
