"""Folders for other programs: whole, bit-exact both ways, and read by those programs themselves."""

import dataclasses
import json
import shutil
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.convert import __main__ as app
from shotstream_jax.convert.public import open_file
from shotstream_jax.convert.shards import write_shards
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.model import PARTS
from shotstream_jax.presets import find_preset
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.vae.codec import decode, encode
from shotstream_jax.vae.model import VAE
from tests.text.sentencepiece_test import SMALL

TINY = find_preset("tiny")
OWN = dataclasses.replace(
    TINY,
    dit=dataclasses.replace(TINY.dit, shot_phase=0.25),
    vae=dataclasses.replace(TINY.vae, mean=(0.1,) * 16, std=(2.3,) * 16),
    steps=dataclasses.replace(TINY.steps, nominal=(1000, 500), shift=3.5),
)
DIFFUSERS = {
    "transformer": ["config.json", "diffusion_pytorch_model.safetensors"],
    "vae": ["config.json", "diffusion_pytorch_model.safetensors"],
    "text_encoder": ["config.json", "model.safetensors"],
    "tokenizer": ["special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"],
    "scheduler": ["scheduler_config.json"],
}


@pytest.fixture
def run(monkeypatch, capsys, caplog):
    def call(*arguments) -> tuple[int, str]:
        caplog.clear()
        caplog.set_level("INFO")
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.run(app.main)
        captured = capsys.readouterr()
        return stop.value.code, captured.out + captured.err + caplog.text

    return call


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A model with sizes of its own, and a type of its own for each part."""
    folder = tmp_path_factory.mktemp("own")
    model = dataclasses.replace(load("tiny"), preset=OWN)
    half = lambda a: np.asarray(a).astype(ml_dtypes.bfloat16)  # noqa: E731
    params = model.params | {"text": jax.tree.map(half, model.params["text"])}
    save(dataclasses.replace(model, params=params), folder / "own", "file")
    return folder / "own"


def same_models(first, second) -> None:
    """Equal in every array, type, size and id."""
    first, second = open_checkpoint(first), open_checkpoint(second)
    assert first.preset == second.preset
    text = "A frog in a red hat."
    assert first.tokenizer().encode(text) == second.tokenizer().encode(text)
    for part in PARTS:
        theirs = second.stored_arrays(part)
        for path, stored in first.stored_arrays(part).items():
            assert stored.dtype == theirs[path].dtype
            assert stored.read().tobytes() == theirs[path].read().tobytes(), path


def test_a_diffusers_folder_comes_back(run, own, tmp_path):
    out = tmp_path / "out"
    code, said = run("export", own, "--layout", "diffusers", "--out", out)
    assert code == 0 and "left out" not in said, said
    for folder, names in DIFFUSERS.items():
        assert sorted(path.name for path in (out / folder).iterdir()) == names
    index = json.loads((out / "model_index.json").read_text())
    assert index["_class_name"] == "WanPipeline"
    assert index["vae"] == ["diffusers", "AutoencoderKLWan"]
    vae = json.loads((out / "vae" / "config.json").read_text())
    assert vae["latents_mean"] == list(OWN.vae.mean) and vae["base_dim"] == OWN.vae.dim
    scheduler = json.loads((out / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["flow_shift"] == OWN.steps.shift
    text = json.loads((out / "text_encoder" / "config.json").read_text())
    assert text["torch_dtype"] == "bfloat16" and text["num_layers"] == OWN.text.layers
    with safetensors.safe_open(out / "vae" / DIFFUSERS["vae"][1], framework="numpy") as opened:
        assert opened.metadata()["format"] == "pt"
        assert "decoder.up_blocks.0.resnets.1.conv2.weight" in opened.keys()
    code, said = run("import", "--wan", out, "--out", tmp_path / "back")
    assert code == 0, said
    same_models(own, tmp_path / "back")


def test_comfyui_files_come_back(run, own, tmp_path):
    out = tmp_path / "frogs"
    code, said = run("export", own, "--layout", "comfyui", "--out", out)
    assert code == 0 and "left out: the tokeniser (name its Sentence" in said
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    dit, text, _ = files
    assert files == [
        "diffusion_models/frogs.safetensors",
        "text_encoders/frogs_umt5.safetensors",
        "vae/frogs_vae.safetensors",
    ]
    assert "model.diffusion_model.blocks.0.self_attn.q.weight" in open_file(out / dit)[""]
    assert "encoder.block.1.layer.0.SelfAttention.q.weight" in open_file(out / text)[""]
    named = ("--wan", out, "--tokenizer", own / "tokenizer.json")
    code, said = run("import", *named, "--out", tmp_path / "back")
    assert code == 0, said
    same_models(own, tmp_path / "back")


def test_the_tokeniser_among_comfyuis_weights(run, own, tmp_path):
    spiece = tmp_path / "spiece.model"
    spiece.write_bytes(SMALL)
    out = tmp_path / "frogs"
    code, said = run("export", own, "--layout", "comfyui", "--spiece", spiece, "--out", out)
    assert code == 0 and "left out" not in said, said
    text = out / "text_encoders" / "frogs_umt5.safetensors"
    assert np.asarray(open_file(text)[""]["spiece_model"]).tobytes() == SMALL
    code, said = run("import", "--text-encoder", text, "--out", tmp_path / "back")
    assert code == 0 and open_checkpoint(tmp_path / "back").tokenizer().encode("a fox") == [3, 4]
    spiece.write_bytes(b"no model")
    code, said = run(
        "export", own, "--layout", "comfyui", "--spiece", spiece, "--out", tmp_path / "x"
    )
    assert code == 2 and "spiece.model" in said and not (tmp_path / "x").exists()


def test_shards(tmp_path):
    """None is larger than it may be, but for an array that is larger by itself."""
    state = {f"w{i}": np.full(i + 1, i, np.float32) for i in range(9)}
    texts = {"format": "pt"}
    write_shards(state, tmp_path, "model", lambda _: None, texts, most=24)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert [path.name for path in shards] == [
        f"model-0000{i}-of-00007.safetensors" for i in range(1, 8)
    ]
    back = open_file(tmp_path / "model.safetensors.index.json")[""]
    assert {name: np.asarray(a).tobytes() for name, a in back.items()} == {
        name: a.tobytes() for name, a in state.items()
    }
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in state.values())
    write_shards(state, tmp_path, "one", lambda _: None, texts)
    assert (tmp_path / "one.safetensors").is_file()


def test_what_is_not_there_is_said(run, tmp_path):
    """A folder of some parts is written, with null for the others."""
    code, _ = run("copy", "tiny", "--part", "vae", "--dtype", "same", "--out", tmp_path / "vae")
    out = tmp_path / "out"
    code, said = run("export", tmp_path / "vae", "--layout", "diffusers", "--out", out)
    assert code == 0 and "left out: dit (the checkpoint has none); text (the" in said
    index = json.loads((out / "model_index.json").read_text())
    assert index["transformer"] == index["text_encoder"] == [None, None]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--layout", "diffusers", "--part", "vae"), "--part and --key go with one file"),
        (("--layout", "comfyui", "--key", "generator"), "--part and --key go with one file"),
        (("--spiece", "spiece.model"), "--spiece goes with --layout comfyui"),
        (("--layout", "peculiar"), "invalid choice: 'peculiar'"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, arguments, message):
    code, said = run("export", "tiny", *arguments, "--out", tmp_path / "out")
    assert code == 2 and message in said and not list(tmp_path.iterdir())


def test_nothing_half_written_has_the_final_name(run, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    args = ("export", "tiny", "--layout", "diffusers", "--out")
    code, said = run(*args, tmp_path / "there")
    assert code == 2 and "exists already" in said
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**10))
        code, said = run(*args, tmp_path / "out")
        assert code == 2 and "GB free, out needs" in said
    monkeypatch.setattr("shotstream_jax.convert.diffusers.write_json", _full_disk)
    code, said = run(*args, tmp_path / "out")
    assert code == 2 and "cannot write" in said and "No space left" in said
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def _full_disk(*_):
    raise OSError(28, "No space left on device")


# By those programs themselves, where they are installed.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped model as a Diffusers folder."""
    for library in ("torch", "diffusers", "transformers", "accelerate"):
        pytest.importorskip(library)
    out = tmp_path_factory.mktemp("diffusers") / "out"
    app.main(["export", "tiny", "--layout", "diffusers", "--out", str(out)])
    return out


def load_theirs(kind, folder, name):
    """One of their modules; all of its parameters must be in the file, and nothing else."""
    import torch

    dtype = {"torch_dtype": torch.float32} if name != "text_encoder" else {"dtype": torch.float32}
    module, info = kind.from_pretrained(folder / name, output_loading_info=True, **dtype)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return module.eval()


def test_transformers_text_encoder(folder):
    import torch
    import transformers

    theirs = load_theirs(transformers.UMT5EncoderModel, folder, "text_encoder")
    ids = np.array([[5, 271, 265, 261, 3, 1, 0, 0], [7, 300, 12, 90, 44, 3, 2, 1]])
    length = np.array([6, 8])
    mask = np.arange(8) < length[:, None]
    with torch.no_grad():
        right = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state
    params = {"params": load("tiny").params["text"]}
    ours = UMT5(TINY.text, jnp.float32).apply(
        params, jnp.asarray(ids, jnp.int32), jnp.asarray(length)
    )
    np.testing.assert_allclose(ours[mask], right.numpy()[mask], atol=2e-4, rtol=1e-4)


def test_transformers_tokenizer(folder):
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer")
    for text in ("A frog in a red hat.", "a  Zeppelin, 3 cats"):
        ours = [*open_checkpoint("tiny").tokenizer().encode(text), 1]
        assert theirs(text).input_ids == ours


def test_diffusers_autoencoder(folder):
    import diffusers
    import torch

    theirs = load_theirs(diffusers.AutoencoderKLWan, folder, "vae")
    generator = np.random.default_rng(0)
    pixels = generator.uniform(-1, 1, (1, 5, 16, 24, 3)).astype(np.float32)
    vae = VAE(TINY.vae, jnp.float32)
    params = load("tiny").params["vae"]
    channels_first = torch.tensor(pixels.transpose(0, 4, 1, 2, 3))
    with torch.no_grad():
        mean = theirs.encode(channels_first).latent_dist.mean
        shown = theirs.decode(mean).sample
    latents = encode(vae, params, jnp.asarray(pixels))
    scale = [np.asarray(values, np.float32) for values in (TINY.vae.mean, TINY.vae.std)]
    raw = np.asarray(latents) * scale[1] + scale[0]
    np.testing.assert_allclose(raw, mean.numpy().transpose(0, 2, 3, 4, 1), atol=1e-3)
    ours = decode(vae, params, latents)
    right = shown.numpy().transpose(0, 2, 3, 4, 1)
    np.testing.assert_allclose(ours, right, atol=1e-3)


def test_diffusers_transformer(folder):
    """The teacher's pass over one caption without shots is theirs."""
    import diffusers
    import torch

    theirs = load_theirs(diffusers.WanTransformer3DModel, folder, "transformer")
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1, 3, 4, 6, 16)).astype(np.float32)
    text = generator.standard_normal((1, 1, TINY.dit.text_len, TINY.dit.text_dim))
    text = text.astype(np.float32)
    with torch.no_grad():
        right = theirs(
            torch.tensor(x.transpose(0, 4, 1, 2, 3)),
            timestep=torch.tensor([500.0]),
            encoder_hidden_states=torch.tensor(text[:, 0]),
        ).sample
    frames = jnp.zeros((1, 3), jnp.int32)
    params = {"params": load("tiny").params["dit"]}
    ours = Teacher(TINY.dit).apply(
        params, jnp.asarray(x), jnp.full(1, 500.0), FrameIds(frames, frames), jnp.asarray(text)
    )
    np.testing.assert_allclose(ours, right.numpy().transpose(0, 2, 3, 4, 1), atol=1e-3)
