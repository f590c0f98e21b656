"""Conversion is strict and its own inverse; broken files are named."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shotstream_jax.convert.rules import Table, check_table, from_public, to_public
from shotstream_jax.core.errors import InputError
from shotstream_jax.load import FILES, TABLES, load, open_part, save
from shotstream_jax.model import PARTS, abstract_params
from shotstream_jax.presets import find_preset
from shotstream_jax.testing import tiny_model

MODEL = tiny_model()


@pytest.mark.parametrize("part", PARTS)
def test_there_and_back_is_the_identity(part):
    table, params = TABLES[part](MODEL.preset), jax.tree.map(np.asarray, MODEL.params[part])
    public = to_public(table, params)
    assert {k: v.shape for k, v in public.items()} == table.shapes()
    back = from_public(table, abstract_params(MODEL.preset, part), public)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint folder of the tiny preset."""
    save(load("tiny"), tmp_path / "ckpt")
    return tmp_path / "ckpt"


def test_a_saved_model_loads(folder):
    a, b = load("tiny"), load(folder)
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


def damage(folder, part, change):
    state = load_file(folder / FILES[part])
    change(state)
    save_file(state, folder / FILES[part])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("blocks.0.norm3.bias"), r"1 missing: blocks.0.norm3.bias"),
        (lambda s: s.update({"extra.weight": np.zeros(3, np.float32)}), r"1 unexpected: extra.weight"),
        (lambda s: s.update({"head.head.bias": np.zeros(3, np.float32)}), r"head.head.bias \[3\] for \[64\]"),
        (lambda s: [s.pop(k) for k in list(s) if ".self_attn." in k], r"60 missing: .*v.weight, … \(50 more\)"),
    ],
    ids=["missing", "unexpected", "shape", "many"],
)
def test_wrong_keys_are_named(folder, change, message):
    damage(folder, "dit", change)
    with pytest.raises(InputError, match=message) as error:
        open_part(find_preset("tiny"), "dit", folder / FILES["dit"])
    assert "transformer.safetensors" in str(error.value)


def test_broken_folders_are_refused(folder, tmp_path):
    path = folder / FILES["vae"]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"vae.safetensors is unreadable or truncated"):
        load(folder)
    path.unlink()
    with pytest.raises(InputError, match=r"no weight file .*vae.safetensors"):
        load(folder)
    (folder / "config.json").write_text(json.dumps({"preset": "huge"}))
    with pytest.raises(InputError, match="huge"):
        load(folder)
    with pytest.raises(InputError, match="neither a folder nor"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no weights of wan-1\.3b are shipped"):
        load("wan-1.3b")
    with pytest.raises(InputError, match="float8"):
        load("tiny", dtype="float8")


def test_a_table_that_does_not_fit_the_model_is_our_bug():
    flat = {("a", "kernel"): np.zeros((2, 3)), ("b",): np.zeros(4)}
    table = Table()
    table.add("a", (3, 2), "a/kernel", (1, 0))
    with pytest.raises(ValueError, match="disagree on: b"):
        check_table(table, flat)
    table.add("b", (4,), "b")
    check_table(table, flat)
    table.add("c", (4,), "b")
    with pytest.raises(ValueError, match="assigned twice: b"):
        check_table(table, flat)


def test_bfloat16_narrows_matrices_only():
    params = load("tiny", dtype="bfloat16").params["dit"]
    assert params["blocks"]["ffn_in"]["kernel"].dtype == "bfloat16"
    assert params["blocks"]["ffn_in"]["bias"].dtype == params["time_in"]["kernel"].dtype == "float32"
