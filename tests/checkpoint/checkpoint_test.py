"""A checkpoint is opened once, and both storages of a part hold the same."""

import json
import pathlib

import jax
import ml_dtypes
import numpy as np
import pytest

from shotstream_jax.checkpoint.arrays import ArraySpec, FileWriter, open_file_arrays
from shotstream_jax.checkpoint.checkpoint import SHIPPED, WEIGHTS, open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.parts import STORAGES, part_of_tree, write_part
from shotstream_jax.checkpoint.save import save, save_parts
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.model import PARTS
from shotstream_jax.testing import tiny_model

MODEL = tiny_model()


def assert_same(got, want) -> None:
    jax.tree.map(np.testing.assert_array_equal, got, jax.tree.map(np.asarray, want))


@pytest.fixture
def configs_read(monkeypatch) -> list[pathlib.Path]:
    """The config.json files that are read from now on."""
    read = []
    original = pathlib.Path.read_text

    def read_text(path, *arguments, **options):
        if path.name == "config.json":
            read.append(path)
        return original(path, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, "read_text", read_text)
    return read


def test_loading_reads_each_config_once(configs_read):
    load("tiny")
    assert configs_read == [WEIGHTS / "tiny" / "config.json"]


def test_a_shipped_teacher_reads_the_config_of_its_student_too(configs_read):
    checkpoint = open_checkpoint("tiny-teacher")
    assert load(checkpoint).origin == "tiny-teacher"
    assert configs_read == [WEIGHTS / name / "config.json" for name in SHIPPED[::-1]]


def test_a_checkpoint_knows_its_parts(tmp_path):
    teacher = open_checkpoint("tiny-teacher")
    assert open_checkpoint(teacher) is teacher
    assert teacher.missing == [] and teacher.preset == open_checkpoint("tiny").preset
    folders = {part: stored.place.parent.name for part, stored in teacher.parts.items()}
    assert folders == {"dit": "tiny-teacher", "vae": "tiny", "text": "tiny"}
    assert teacher.tokenizer().encode("a bear") == open_checkpoint("tiny").tokenizer().encode(
        "a bear"
    )


@pytest.mark.parametrize("storage", STORAGES)
def test_both_storages_are_loaded(tmp_path, storage):
    save(MODEL, tmp_path / "ckpt", storage)
    files = {path.name for path in (tmp_path / "ckpt").iterdir()}
    parts = {part: f"{part}.safetensors" if storage == "file" else part for part in PARTS}
    assert files == {"config.json", *parts.values()}
    checkpoint = open_checkpoint(tmp_path / "ckpt")
    assert checkpoint.preset == MODEL.preset
    model = load(checkpoint)
    assert_same(model.params, MODEL.params)
    on_mesh = checkpoint.load_params("dit", mesh=make_mesh({"fsdp": 2, "tensor": 4}))
    assert_same(on_mesh, MODEL.params["dit"])
    kernel = on_mesh["blocks"]["ffn_in"]["kernel"]
    assert tuple(kernel.sharding.spec) == (None, "fsdp", "tensor")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32], ids=str)
@pytest.mark.parametrize("storage", STORAGES)
def test_types_are_kept(tmp_path, storage, dtype):
    """A part's slices and layers are read alone, bit for bit."""
    tree = jax.tree.map(lambda a: np.asarray(a).astype(dtype), MODEL.params["dit"])
    save_parts({"dit": tree}, MODEL.preset, save_as(tmp_path / "start"), tmp_path / "folder")
    write_part(tmp_path, "dit", part_of_tree(tree), storage, lambda _: None)
    stored = tmp_path / ("dit.safetensors" if storage == "file" else "dit")
    (tmp_path / "ckpt").mkdir()
    stored.rename(tmp_path / "ckpt" / stored.name)
    (tmp_path / "ckpt" / "config.json").write_text(
        (tmp_path / "folder" / "config.json").read_text()
    )
    arrays = open_checkpoint(tmp_path / "ckpt").stored_arrays("dit")
    want = tree["blocks"]["ffn_in"]["kernel"]
    got = arrays["blocks", "ffn_in", "kernel"]
    assert got.dtype == dtype and got.shape == want.shape
    assert np.array_equal(got.read(), want) and np.array_equal(got.read(1), want[1])
    index = (slice(None), slice(8, 16), slice(None, 5))
    assert got.read(index).dtype == dtype and np.array_equal(got.read(index), want[index])


def save_as(folder: pathlib.Path, storage: str = "folder") -> pathlib.Path:
    save(MODEL, folder, storage)
    return folder


@pytest.mark.parametrize("storage", STORAGES)
def test_what_is_not_trained_stays(tmp_path, storage):
    """The other parts are the start's, in its storage; an older result is replaced."""
    start = save_as(tmp_path / "start", storage)
    trained = {"dit": jax.tree.map(lambda a: np.asarray(a) + 1, MODEL.params["dit"])}
    for _ in range(2):
        save_parts(trained, MODEL.preset, start, tmp_path / "model")
        result = load(tmp_path / "model")
        assert_same(result.params, MODEL.params | trained)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "start"]


def test_trained_from_a_shipped_model(tmp_path):
    """Its parts and its vocabulary are in the result."""
    trained = {"dit": jax.tree.map(np.asarray, open_checkpoint("tiny").load_params("dit"))}
    save_parts(trained, open_checkpoint("tiny").preset, "tiny-teacher", tmp_path / "model")
    assert_same(load(tmp_path / "model").params, load("tiny").params)
    assert open_checkpoint(tmp_path / "model").vocabulary.is_file()


def test_broken_files_are_refused(tmp_path):
    folder = save_as(tmp_path / "ckpt", "file")
    file = folder / "vae.safetensors"
    whole = file.read_bytes()
    for data in (whole[:-8], whole[:100], b""):
        file.write_bytes(data)
        match = r"vae.safetensors is (unreadable or truncated|empty).* convert it again"
        with pytest.raises(InputError, match=match):
            load(folder)
    file.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    config["sizes"]["vae"]["dim"] = 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"has shape .*, expected .*: convert it again"):
        load(folder)
    (folder / "vae.safetensors").write_bytes((folder / "text.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"vae.safetensors lacks .*: convert it again"):
        load(folder)
    file.unlink()
    with pytest.raises(InputError, match=r"lacks .*, or it is damaged: convert it again"):
        load(folder)


def test_a_file_that_is_not_filled_is_our_bug(tmp_path):
    specs = {"a": ArraySpec((2, 3), np.dtype(np.float32)), "b": ArraySpec((), np.dtype(np.float16))}
    with FileWriter(tmp_path / "x.safetensors", specs) as file:
        file.write("b", np.full((), 2, np.float16))
        for layer in (1, 0):
            file.write("a", np.full(3, layer, np.float32), layer)
        with pytest.raises(ValueError, match=r"a is float32\(2,\)"):
            file.write("a", np.zeros(2, np.float32), 0)
    arrays = open_file_arrays(tmp_path / "x.safetensors")
    assert arrays["a"].read().tolist() == [[0, 0, 0], [1, 1, 1]] and arrays["b"].read() == 2
    with pytest.raises(ValueError, match="2 of 26 bytes"):
        with FileWriter(tmp_path / "y.safetensors", specs) as file:
            file.write("b", np.full((), 2, np.float16))
