"""Sizes that names and shapes do not tell come back, and casts lose nothing."""

import dataclasses
import json
import shutil

import ml_dtypes
import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file, save_file

from shotstream_jax.checkpoint.checkpoint import WEIGHTS, open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.checkpoint.trained_for import TrainedFor, trained_for
from shotstream_jax.convert.torch_io import read_torch, write_torch
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import PARTS
from shotstream_jax.presets import find_preset

TINY = find_preset("tiny")
# Whatever a preset has beside what shapes tell.
OWN = dataclasses.replace(
    TINY,
    dit=dataclasses.replace(TINY.dit, shot_phase=0.25),
    vae=dataclasses.replace(TINY.vae, mean=(0.1,) * 16, std=(2.3,) * 16),
    memory=MemoryConfig(context=2, chunk=3, window=6),
    steps=dataclasses.replace(TINY.steps, nominal=(1000, 500), shift=3.5),
)
FACTS = {"trained_for": TrainedFor("teacher", 32, 48, 6).facts()["trained_for"]}
OPTIONS = {"dit": "--shotstream", "vae": "--vae", "text": "--text-encoder"}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model whose sizes are no preset's."""
    folder = tmp_path_factory.mktemp("own") / "own"
    save(dataclasses.replace(load("tiny"), preset=OWN), folder, "file")
    config = json.loads((folder / "config.json").read_text())
    config["parts"]["dit"] |= FACTS
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def export(run, checkpoint, part, out):
    code, said = run("export", checkpoint, "--part", part, "--out", out)
    assert code == 0, said
    return out


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_sizes_come_back(run, own, tmp_path, suffix):
    """All of them from all three files; of one file those of its part and the rest with it."""
    named = []
    for part in PARTS:
        file = export(run, own, part, tmp_path / f"{part}{suffix}")
        named += [OPTIONS[part], file]
    code, said = run("import", *named, "--out", tmp_path / "all")
    assert code == 0, said
    back = open_checkpoint(tmp_path / "all")
    assert back.preset == OWN and trained_for(back) == TrainedFor("teacher", 32, 48, 6)
    code, _ = run("import", OPTIONS["vae"], tmp_path / f"vae{suffix}", "--out", tmp_path / "one")
    assert code == 0 and open_checkpoint(tmp_path / "one").preset == OWN


def test_each_part_has_its_own_files_sizes(run, own, tmp_path):
    """An own transformer with the shipped autoencoder: its shot phase, but their statistics."""
    dit = export(run, own, "dit", tmp_path / "dit.safetensors")
    # A public file says nothing.
    vae = tmp_path / "vae.safetensors"
    save_file(load_file(export(run, "tiny", "vae", vae)), vae)
    code, _ = run("import", "--shotstream", dit, "--vae", vae, "--out", tmp_path / "mixed")
    assert code == 0
    preset = open_checkpoint(tmp_path / "mixed").preset
    assert preset == dataclasses.replace(OWN, vae=TINY.vae)


def test_merging_an_adapter_keeps_the_sizes(run, own, tmp_path):
    width = TINY.dit.dim
    name = "blocks.0.self_attn.q"
    factors = {f"{name}.lora_A.weight": np.ones((1, width), np.float32)}
    factors[f"{name}.lora_B.weight"] = np.ones((width, 1), np.float32)
    save_file(factors, tmp_path / "lora.safetensors")
    for suffix in (".safetensors", ".pt"):
        base = export(run, own, "dit", tmp_path / f"base{suffix}")
        merged = tmp_path / f"merged{suffix}"
        code, said = run(
            "merge-lora", base, "--lora", tmp_path / "lora.safetensors", "--out", merged
        )
        assert code == 0, said
        out = tmp_path / f"out{suffix}"
        assert run("import", "--shotstream", merged, "--out", out)[0] == 0
        back = open_checkpoint(out)
        assert back.preset == OWN and trained_for(back).role == "teacher"
        assert back.parts["dit"].entry["adapters"] == ["lora.safetensors:1"]


def test_the_statistics_of_a_diffusers_config(run, tmp_path):
    """Of somebody else's folder, which keeps no other sizes."""
    vae = tmp_path / "vae.safetensors"
    save_file(load_file(export(run, "tiny", "vae", vae)), vae)
    mean = [0.5] * 16
    config = {"_class_name": "AutoencoderKLWan", "latents_mean": mean, "latents_std": [2.0] * 16}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert run("import", "--vae", vae, "--out", tmp_path / "out")[0] == 0
    assert open_checkpoint(tmp_path / "out").preset.vae.mean == tuple(mean)
    config["latents_mean"] = config["latents_std"] = [1.0]
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, said = run("import", "--vae", vae, "--out", tmp_path / "other")
    assert code == 2 and "latents of 1 channels, the weights 16" in said


def test_sizes_that_do_not_fit(run, own, tmp_path):
    dit = export(run, own, "dit", tmp_path / "dit.safetensors")
    code, said = run("import", "--shotstream", dit, "--preset", "wan-1.3b", "--out", tmp_path / "x")
    assert code == 2 and "is of the preset tiny, not wan-1.3b" in said
    state = load_file(dit)
    for text in ("{", "[]", '{"name": "tiny"}'):
        save_file(state, dit, {"shotstream_sizes": text})
        code, said = run("import", "--shotstream", dit, "--out", tmp_path / "x")
        assert code == 2 and "sizes that it keeps are unreadable" in said and said.count("\n") == 1
    for text in ("{", "[]", "7"):
        save_file(state, dit, {"shotstream_facts": text})
        code, said = run("import", "--shotstream", dit, "--out", tmp_path / "x")
        assert code == 2 and "facts that it keeps are unreadable" in said


def test_the_usual_header_and_no_word_in_torch_files(run, own, tmp_path):
    """What other programs look at is as they expect it."""
    file = export(run, own, "vae", tmp_path / "vae.safetensors")
    with safetensors.safe_open(file, framework="numpy") as opened:
        assert opened.metadata()["format"] == "pt"
    file = export(run, own, "vae", tmp_path / "vae.pth")
    assert all(hasattr(value, "shape") for value in read_torch(file).values())
    torch = pytest.importorskip("torch")
    assert len(torch.load(file, weights_only=True)) == len(read_torch(file))


def large(folder, **values) -> None:
    """The shipped autoencoder's file with some values of their own."""
    state = load_file(WEIGHTS / "tiny" / "vae.safetensors")
    shutil.copytree(WEIGHTS / "tiny", folder)
    state = {name: array.astype(np.float32) for name, array in state.items()}
    for name, value in values.items():
        state[name] = np.full(state[name].shape, value, np.float32)
    save_file(state, folder / "vae.safetensors")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_copy_that_would_be_infinite_is_refused(run, tmp_path, dtype):
    """The tensors are named, and nothing stands under the final name."""
    names = ["decoder/conv_in/bias", "encoder/conv_out/kernel"]
    large(tmp_path / "large", **dict.fromkeys(names, 70000.0))
    out = tmp_path / "out"
    code, said = run("copy", tmp_path / "large", "--part", "vae", "--dtype", dtype, "--out", out)
    if dtype != "float16":
        assert code == 0
        return
    assert code == 2 and "bfloat16 holds them" in said and all(name in said for name in names)
    assert not out.exists() and not list(tmp_path.glob("*.partial"))


def test_the_largest_of_float16_fits(run, tmp_path):
    large(tmp_path / "large", **{"decoder/conv_in/bias": 65504.0})
    args = ("copy", tmp_path / "large", "--part", "vae", "--dtype", "float16")
    assert run(*args, "--out", tmp_path / "out")[0] == 0


def test_a_merge_that_would_be_infinite_is_refused(run, tmp_path):
    width = TINY.dit.dim
    name = "blocks.0.self_attn.q"
    state = load_file(export(run, "tiny", "dit", tmp_path / "base.safetensors"))
    half = {key: array.astype(np.float16) for key, array in state.items()}
    save_file(half, tmp_path / "base.safetensors")
    factors = {f"{name}.lora_A.weight": np.full((1, width), 300, np.float32)}
    factors[f"{name}.lora_B.weight"] = np.full((width, 1), 300, np.float32)
    save_file(factors, tmp_path / "lora.safetensors")
    out = tmp_path / "merged.safetensors"
    args = ("merge-lora", tmp_path / "base.safetensors", "--lora", tmp_path / "lora.safetensors")
    code, said = run(*args, "--out", out)
    assert code == 2 and f"float16 cannot hold the values of {name}.weight" in said
    assert not out.exists() and not list(tmp_path.glob("*.partial"))


def test_a_full_disk_is_told_before(run, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**10))
    code, said = run("export", "tiny", "--out", tmp_path / "x.safetensors")
    assert code == 2 and "GB free, x.safetensors needs" in said and not list(tmp_path.iterdir())


def test_types_of_a_part_stay(run, tmp_path):
    """bfloat16 there and back by way of PyTorch's file."""
    folder = tmp_path / "half"
    assert run("copy", "tiny", "--part", "vae", "--dtype", "bfloat16", "--out", folder)[0] == 0
    file = export(run, folder, "vae", tmp_path / "vae.pth")
    assert {array.dtype for array in read_torch(file).values()} == {np.dtype(ml_dtypes.bfloat16)}
    write_torch(tmp_path / "other.pth", read_torch(file))
    assert run("import", "--vae", tmp_path / "other.pth", "--out", tmp_path / "back")[0] == 0
    first = open_checkpoint(folder).read_params("vae")
    second = open_checkpoint(tmp_path / "back").read_params("vae")
    assert str(first) == str(second)
