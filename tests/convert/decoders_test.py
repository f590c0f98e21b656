"""Files of smaller decoders: told apart, checked, stored beside a model, loaded and given back."""

import json
import logging
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shotstream_jax import cli, presets
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save, save_parts
from shotstream_jax.convert import __main__ as app
from shotstream_jax.convert import decoders
from shotstream_jax.convert.tables import decoder_table, part_table
from shotstream_jax.convert.torch_io import write_torch
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.model import init_decoder
from shotstream_jax.presets import decoder_config, find_preset
from shotstream_jax.vae.config import TinyConfig
from tests.decoders import (
    TAEHV_F16,
    TAEHV_F32,
    VAE,
    recorded_config,
    recorded_params,
    wide_model,
)
from tests.public_layout import to_public


@pytest.fixture
def run(monkeypatch, capsys, caplog):
    def call(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        with caplog.at_level(logging.INFO), pytest.raises(SystemExit) as stop:
            cli.run(app.main)
        captured = capsys.readouterr()
        return stop.value.code, captured.out + captured.err + caplog.text

    return call


@pytest.fixture
def ckpt(tmp_path):
    save(wide_model(), tmp_path / "ckpt")
    return tmp_path / "ckpt"


def entry(folder, kind: str) -> dict:
    return json.loads((folder / "config.json").read_text())["parts"][kind]


def test_the_public_sizes_have_the_public_names():
    """taew2_1: 128 tensors of 11.3 million numbers, 22.6 MB in float16."""
    table = decoder_table(decoder_config("taehv", VAE))
    shapes = table.shapes()
    assert len(shapes) == 128 == len(load_file(TAEHV_F32))
    assert shapes.keys() == load_file(TAEHV_F32).keys()
    assert shapes["encoder.2.conv.weight"] == (64, 128, 1, 1)
    assert shapes["encoder.4.conv.0.weight"] == (64, 128, 3, 3)
    assert shapes["decoder.1.weight"] == (256, 16, 3, 3)
    assert shapes["decoder.8.weight"] == (128, 256, 3, 3)
    assert shapes["decoder.22.weight"] == (3, 64, 3, 3)
    assert round(sum(np.prod(shape) for shape in shapes.values()) / 1e6, 1) == 11.3


@pytest.mark.parametrize(
    "file, words, kind, told",
    [
        (TAEHV_F16, [], "taehv", "assumed, since its weights are float16"),
        (TAEHV_F32, [], "lighttae", "assumed, since its weights are float32"),
        (TAEHV_F32, ["--decoder-kind", "taehv"], "taehv", "named by the caller"),
    ],
    ids=["float16", "float32", "named"],
)
def test_look_alikes_are_told_by_type_unless_named(run, ckpt, tmp_path, file, words, kind, told):
    """What was assumed is said, and kept; the model is the one that it was otherwise."""
    code, out = run("add-decoder", ckpt, file, *words, "--out", tmp_path / "live")
    assert code == 0 and f"with the decoder {kind}" in out
    assert words or f"{file.name}: read as {kind}, {told}" in out
    kept = entry(tmp_path / "live", kind)
    assert kept["kind_by"] == told and kept["source"]["file"] == file.name
    model = load(tmp_path / "live", decoder=kind)
    cfg = recorded_config(kind)
    assert model.decoder == cfg and f"frames by {kind}" in model.origin
    before = load(ckpt).params
    jax.tree.map(np.testing.assert_array_equal, {p: model.params[p] for p in before}, before)
    near = 0 if file == TAEHV_F32 else 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=near),
        model.params["decoder"],
        recorded_params(),
    )
    # Without its name it is not loaded.
    assert load(tmp_path / "live").decoder is None


def test_a_known_file_is_told_by_its_digest(run, ckpt, tmp_path, monkeypatch):
    digest = decoders.file_hash(TAEHV_F32)
    monkeypatch.setattr(decoders, "KNOWN_FILES", {digest: "taehv"})
    assert run("add-decoder", ckpt, TAEHV_F32, "--out", tmp_path / "live")[0] == 0
    assert "SHA-256" in entry(tmp_path / "live", "taehv")["kind_by"]


def test_a_decoder_with_wans_names_is_a_narrower_autoencoder(run, ckpt, tmp_path):
    cfg = decoder_config("lightvae", VAE)
    assert cfg.dim == 24
    params = jax.tree.map(np.asarray, init_decoder(cfg, jax.random.key(0)))
    write_torch(tmp_path / "lightvaew2_1.pth", to_public(decoder_table(cfg), params))
    code, out = run("add-decoder", ckpt, tmp_path / "lightvaew2_1.pth", "--out", tmp_path / "live")
    assert code == 0 and "read as lightvae, its names being those of Wan's" in out
    loaded = load(tmp_path / "live", decoder="lightvae")
    assert loaded.decoder == cfg
    jax.tree.map(np.testing.assert_array_equal, loaded.params["decoder"], params)


def test_another_programs_prefixes(run, ckpt, tmp_path):
    state = {f"taehv_{name}": array for name, array in load_file(TAEHV_F32).items()}
    save_file(state, tmp_path / "comfy.safetensors")
    out = tmp_path / "live"
    assert run("add-decoder", ckpt, tmp_path / "comfy.safetensors", "--out", out)[0] == 0
    params = load(out, decoder="lighttae").params["decoder"]
    jax.tree.map(np.testing.assert_array_equal, params, recorded_params())


def test_there_and_back_and_copied(run, ckpt, tmp_path):
    live, half = tmp_path / "live", tmp_path / "half"
    run("add-decoder", ckpt, TAEHV_F32, "--decoder-kind", "taehv", "--out", live)
    back = tmp_path / "back.safetensors"
    assert run("export", live, "--part", "taehv", "--out", back)[0] == 0
    want = load_file(TAEHV_F32)
    assert all(np.array_equal(array, want[name]) for name, array in load_file(back).items())
    # A copy in float16 is still taehv, in another storage.
    assert run("copy", live, "--storage", "file", "--out", half)[0] == 0
    assert (half / "taehv.safetensors").is_file()
    assert load(half, decoder="taehv").decoder == recorded_config("taehv")
    code, out = run("inspect", half)
    assert code == 0 and "taehv" in out and "named by the caller" in out
    assert "decoder taehv or lighttae, 128 tensors" in run("inspect", TAEHV_F16)[1]
    # Training another transformer keeps it; another autoencoder has other latents.
    dit = {"dit": jax.tree.map(np.asarray, wide_model().params["dit"])}
    save_parts(dit, wide_model().preset, live, tmp_path / "trained")
    assert "taehv" in open_checkpoint(tmp_path / "trained").parts
    vae = {"vae": jax.tree.map(np.asarray, wide_model().params["vae"])}
    save_parts(vae, wide_model().preset, live, tmp_path / "other")
    assert "taehv" not in open_checkpoint(tmp_path / "other").parts


def test_on_a_mesh_every_device_has_it(run, ckpt, tmp_path):
    run("add-decoder", ckpt, TAEHV_F16, "--out", tmp_path / "live")
    mesh = make_mesh({"sequence": 2, "tensor": 4})
    model = load(tmp_path / "live", mesh=mesh, decoder="taehv")
    kernel = model.params["decoder"]["decoder"]["conv_in"]["kernel"]
    assert kernel.sharding.is_fully_replicated and len(kernel.sharding.device_set) == 8


def write_vae(model, path) -> None:
    params = jax.tree.map(np.asarray, model.params["vae"])
    save_file(to_public(part_table(model.preset, "vae"), params), path)


def test_imported_beside_the_other_parts(run, tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "wide", wide_model().preset)
    write_vae(wide_model(), tmp_path / "vae.safetensors")
    named = ["--vae", tmp_path / "vae.safetensors", "--out", tmp_path / "ckpt"]
    code, out = run("import", *named, "--decoder-kind", "taehv")
    assert code == 2 and "--decoder-kind goes with --decoder" in out
    code, out = run("import", *named, "--decoder", TAEHV_F32, "--decoder-kind", "taehv")
    assert code == 0 and "vae, taehv of wide" in out
    params = open_checkpoint(tmp_path / "ckpt").load_params("taehv")
    jax.tree.map(np.testing.assert_array_equal, params, recorded_params())


def test_a_decoder_of_other_latents_is_refused(run, tmp_path):
    """The miniature's are 4× in space and 2× in time."""
    write_vae(load("tiny"), tmp_path / "vae.safetensors")
    named = ["--vae", tmp_path / "vae.safetensors", "--out", tmp_path / "ckpt"]
    code, out = run("import", *named, "--decoder", TAEHV_F16)
    assert code == 2 and "8× space, 4× time and 16 channels, the model 4×, 2× and 16" in out
    assert not (tmp_path / "ckpt").exists()


def changed(state: dict, change: str) -> dict:
    state = dict(state)
    if change == "missing":
        del state["decoder.4.conv.2.bias"]
    elif change == "unexpected":
        state["decoder.23.weight"] = np.zeros(3, np.float32)
    elif change == "shape":
        state["decoder.9.conv.0.weight"] = np.zeros((16, 30, 3, 3), np.float32)
    elif change == "smaller growth":
        state["decoder.13.conv.weight"] = state["decoder.13.conv.weight"][:16]
    elif change == "bfloat16":
        state = {name: array.astype(ml_dtypes.bfloat16) for name, array in state.items()}
    elif change == "twice":
        state["taehv_decoder.1.bias"] = state["decoder.1.bias"]
    elif change == "no decoder":
        state = {"blocks.0.weight": np.zeros(3, np.float32)}
    elif change == "channels":
        state["decoder.1.weight"] = np.zeros((24, 48, 3, 3), np.float32)
    return state


@pytest.mark.parametrize(
    "change, message",
    [
        ("missing", "1 missing: decoder.4.conv.2.bias (as lighttae)"),
        ("unexpected", "1 unexpected: decoder.23.weight"),
        ("shape", "decoder.9.conv.0.weight [16, 30, 3, 3] for [16, 32, 3, 3]"),
        ("smaller growth", "decoder.13.conv.weight [16, 16, 1, 1] for [32, 16, 1, 1]"),
        ("channels", "decoder.1.weight [24, 48, 3, 3] for [24, 16, 3, 3]"),
        ("bfloat16", "may be taehv or lighttae, its types (bfloat16) do not tell which: say so"),
        ("twice", "1 unexpected: taehv_decoder.1.bias"),
        ("no decoder", "is no decoder that is known (blocks.0.weight)"),
        ("wrong word", "lacks decoder.conv1.bias: it is not a file of lightvae"),
    ],
)
def test_what_does_not_fit_is_named(run, ckpt, tmp_path, change, message):
    file, out = tmp_path / "x.safetensors", tmp_path / "live"
    save_file(changed(load_file(TAEHV_F32), change), file)
    words = ["--decoder-kind", "lightvae"] if change == "wrong word" else []
    code, text = run("add-decoder", ckpt, file, *words, "--out", out)
    assert code == 2 and message in text and not list(tmp_path.glob("live*"))


def test_a_damaged_entry_is_one_line(run, ckpt, tmp_path):
    run("add-decoder", ckpt, TAEHV_F16, "--out", tmp_path / "live")
    path = tmp_path / "live" / "config.json"
    config = json.loads(path.read_text())
    config["parts"]["taehv"]["sizes"]["depth"] = 3
    path.write_text(json.dumps(config))
    assert load(tmp_path / "live").decoder is None
    with pytest.raises(ValueError, match=r"the sizes of taehv do not fit this version: .*depth"):
        load(tmp_path / "live", decoder="taehv")


def test_the_look_alikes_differ_in_scale_alone():
    vae = find_preset("wan-1.3b").vae
    taehv, lighttae = (decoder_config(kind, vae) for kind in ("taehv", "lighttae"))
    assert isinstance(taehv, TinyConfig) and isinstance(lighttae, TinyConfig)
    assert (lighttae.mean, lighttae.std) == (vae.mean, vae.std)
    assert set(taehv.mean) == {0.0} and set(taehv.std) == {1.0}
    assert taehv.decoder == lighttae.decoder and taehv.encoder == lighttae.encoder
