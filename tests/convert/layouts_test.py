"""Every layout that people have is read as the plain one, and inspect says what an import does."""

import json
import random
import re
import sys

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import WEIGHTS
from shotstream_jax.convert import __main__ as app
from shotstream_jax.convert import checkpoints
from shotstream_jax.convert.naming import (
    diffusers_dit,
    diffusers_vae,
    hf_umt5,
    llama_umt5,
    residuals_of,
)
from shotstream_jax.convert.reader import open_part_of_file
from shotstream_jax.convert.sources import import_sources
from shotstream_jax.convert.tables import decoder_table
from shotstream_jax.convert.torch_io import write_torch
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS
from shotstream_jax.presets import decoder_config, find_preset
from tests.convert.containers import write_safetensors_file

OPTIONS = {"dit": "--shotstream", "vae": "--vae", "text": "--text-encoder"}
STATES = {
    part: {k: np.asarray(v) for k, v in checkpoints.open_public_part("tiny", part).items()}
    for part in PARTS
}
DIT, VAE, TEXT = (STATES[part] for part in PARTS)
NAMINGS = {
    "dit": [diffusers_dit()],
    "vae": [diffusers_vae(residuals_of(VAE))],
    "text": [hf_umt5(), llama_umt5()],
}


def behind(prefix: str, state: dict) -> dict:
    return {prefix + name: array for name, array in state.items()}


def under(naming, state: dict) -> dict:
    return {naming.from_plain(name): array for name, array in state.items()}


def between(wrapper: str, state: dict) -> dict:
    """A wrapper after each block's number."""
    return {re.sub(r"(blocks\.\d+\.)", rf"\1{wrapper}.", k): v for k, v in state.items()}


HF = under(hf_umt5(), TEXT)
FSDP = behind("model._fsdp_wrapped_module.", DIT)
SCALED = {"scaled_fp8": np.zeros(2, ml_dtypes.float8_e4m3fn)}
for _name, _array in DIT.items():
    SCALED[_name] = _array
    if _array.ndim == 2 and _name.startswith("blocks"):
        SCALED[_name] = (_array * 4).astype(ml_dtypes.float8_e4m3fn)
        SCALED[_name.removesuffix("weight") + "scale_weight"] = np.float32([0.25])

# What is in a file, and the part that is read of it: flat for .safetensors, else .pt.
FLAT = {
    "comfyui": ("dit", behind("model.diffusion_model.", DIT)),
    "comfyui-short": ("dit", behind("diffusion_model.", DIT)),
    "model.model": ("dit", behind("model.model.", DIT)),
    "diffsynth": ("dit", behind("pipe.dit.", DIT)),
    "compiled": ("dit", between("_orig_mod", behind("module.", DIT))),
    "diffusers": ("dit", under(diffusers_dit(), DIT)),
    "diffusers-prefix": ("dit", behind("transformer.", under(diffusers_dit(), DIT))),
    "kijai-vae": ("vae", behind("model.", VAE)),
    "diffusers-vae": ("vae", under(NAMINGS["vae"][0], VAE)),
    "vae-prefix": ("vae", behind("first_stage_model.", VAE)),
    "hf-text": ("text", HF),
    "hf-text-tied": ("text", HF | {"encoder.embed_tokens.weight": HF["shared.weight"]}),
    "hf-text-whole": ("text", HF | {"decoder.final_layer_norm.weight": np.ones(64, np.float32)}),
    "hf-text-embed": (
        "text",
        {re.sub("^shared", "encoder.embed_tokens", name): array for name, array in HF.items()},
    ),
    "text-prefix": ("text", behind("text_encoders.umt5xxl.transformer.", HF)),
    "llama-text": ("text", under(llama_umt5(), TEXT)),
    "checkpoint": (
        "vae",
        behind("model.diffusion_model.", DIT)
        | behind("first_stage_model.", VAE)
        | behind("cond_stage_model.", TEXT),
    ),
    "flat-training": ("dit", behind("generator.model.", DIT)),
}
WRAPPED = {
    "fsdp": ("dit", {"generator": FSDP, "step": 3}),
    "fsdp-blocks": ("dit", {"generator_ema": between("_fsdp_wrapped_module", FSDP)}),
    "checkpointed": ("dit", {"generator": between("_checkpoint_wrapped_module", DIT)}),
    "state_dict": ("dit", {"state_dict": behind("model.", DIT), "epoch": 1}),
    "nested": ("dit", {"state_dict": {"generator": behind("model.", DIT)}, "args": {"lr": 0.1}}),
    "model": ("dit", {"model": DIT}),
    "module": ("dit", {"module": DIT, "optimizer": {"exp_avg": DIT}}),
    "vae-state_dict": ("vae", {"state_dict": behind("module.", VAE)}),
    "text-model": ("text", {"model": HF}),
}


@pytest.fixture
def run(monkeypatch, capsys, caplog):
    def call(*arguments) -> tuple[int, str]:
        caplog.clear()
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        with caplog.at_level("INFO"), pytest.raises(SystemExit) as stop:
            cli.run(app.main)
        captured = capsys.readouterr()
        return stop.value.code, captured.out + captured.err + caplog.text

    return call


def assert_same(got, part: str) -> None:
    assert set(got) == set(STATES[part])
    for name, want in STATES[part].items():
        np.testing.assert_array_equal(np.asarray(got[name]), want, err_msg=name)


def assert_imported(folder, parts) -> None:
    for part in parts:
        assert_same(checkpoints.open_public_part(folder, part), part)


@pytest.mark.parametrize("name", [*FLAT, *WRAPPED])
def test_a_layout_is_read_as_the_plain_one(run, tmp_path, name):
    """And inspect says so: the part, the preset."""
    file = tmp_path / ("x.safetensors" if name in FLAT else "x.pt")
    part, content = (FLAT | WRAPPED)[name]
    if name in FLAT:
        write_safetensors_file(file, content)
    else:
        write_torch(file, content)
    plan = checkpoints.prepare_import({part: file}, tmp_path / "ckpt")
    assert plan.preset.name == "tiny" and list(plan.parts) == [part]
    assert_same(open_part_of_file(file, part), part)
    _, seen = run("inspect", file)
    assert re.search(rf"{part}, {len(STATES[part])} tensors.* preset tiny", seen), seen


def test_weights_in_8_bits_behind_a_prefix(run, tmp_path):
    """The marker of the file has no prefix; the scales have that of their weights."""
    content = behind("model.diffusion_model.", SCALED)
    content["scaled_fp8"] = content.pop("model.diffusion_model.scaled_fp8")
    write_safetensors_file(tmp_path / "x.safetensors", content)
    got = open_part_of_file(tmp_path / "x.safetensors", "dit")
    assert set(got) == set(DIT)
    for name in DIT:
        scale = 0.25 if SCALED[name].itemsize == 1 else 1.0
        want = SCALED[name].astype(np.float32) * np.float32(scale)
        np.testing.assert_array_equal(np.asarray(got[name]), want)
    _, seen = run("inspect", tmp_path / "x.safetensors")
    assert "+ float8_e4m3fn" in seen and "with scales" in seen and "preset tiny" in seen


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32).map(random.Random))
def test_random_layouts(tmp_path_factory, draw):
    """Prefix × wrapper × naming × dictionaries or shards: written, and read back the same."""
    folder = tmp_path_factory.mktemp("random")
    part = draw.choice(PARTS)
    state = STATES[part]
    naming = draw.choice([None, *NAMINGS[part]])
    if naming:
        state = under(naming, state)
    state = behind(draw.choice(["", "model.", "a.b.", "net.transformer.", "encoder_2."]), state)
    for wrapper in ("_fsdp_wrapped_module", "_orig_mod", "module"):
        if draw.random() < 0.5:
            state = draw.choice([behind(f"{wrapper}.", state), between(wrapper, state)])
    names = draw.sample(list(state), len(state))
    kind = draw.choice(["file", "shards", "dictionaries"])
    file = folder / "x.safetensors"
    if kind == "file":
        write_safetensors_file(file, {name: state[name] for name in names})
    if kind == "shards":
        file = folder / "x.safetensors.index.json"
        cut = draw.randint(1, len(names) - 1)
        shards = {"1.safetensors": names[:cut], "2.safetensors": names[cut:]}
        for shard, inside in shards.items():
            write_safetensors_file(folder / shard, {name: state[name] for name in inside})
        weight_map = {name: shard for shard, inside in shards.items() for name in inside}
        file.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    if kind == "dictionaries":
        file = folder / "x.pt"
        content = {name: state[name] for name in names}
        for key in draw.sample(["model", "state_dict", "generator", "net"], draw.randint(0, 2)):
            content = {key: content, "step": 1}
        write_torch(file, content)
    assert_same(open_part_of_file(file, part), part)


def sources_of(*arguments) -> dict:
    args = app.parser().parse_args(["import", *map(str, arguments), "--out", "x"])
    return import_sources(args)


def test_whole_folders(run, tmp_path):
    """Of Diffusers, of ComfyUI, of Wan, of loose files; and one file that has all parts."""
    diffusers = tmp_path / "diffusers"
    comfyui = tmp_path / "comfyui"
    loose = tmp_path / "loose"
    for folder in ("transformer", "vae", "text_encoder", "tokenizer"):
        (diffusers / folder).mkdir(parents=True)
    weights = "diffusion_pytorch_model.safetensors"
    theirs = under(diffusers_dit(), DIT)
    names = list(theirs)
    shards = {"block_0.safetensors": names[:90], "block_1.safetensors": names[90:]}
    for shard, inside in shards.items():
        path = diffusers / "transformer" / shard
        write_safetensors_file(path, {name: theirs[name] for name in inside})
    weight_map = {name: shard for shard, inside in shards.items() for name in inside}
    index = diffusers / "transformer" / f"{weights}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    write_safetensors_file(diffusers / "vae" / weights, under(NAMINGS["vae"][0], VAE))
    write_safetensors_file(diffusers / "text_encoder" / "model.safetensors", HF)
    tokenizer = (WEIGHTS / "tiny" / "tokenizer.json").read_bytes()
    (diffusers / "tokenizer" / "tokenizer.json").write_bytes(tokenizer)
    for folder in ("diffusion_models", "vae", "text_encoders"):
        (comfyui / "split_files" / folder).mkdir(parents=True)
    files = comfyui / "split_files"
    write_safetensors_file(files / "diffusion_models" / "wan_bf16.safetensors", FLAT["comfyui"][1])
    write_safetensors_file(files / "vae" / "wan_2.1_vae.safetensors", VAE)
    write_safetensors_file(files / "text_encoders" / "umt5_fp16.safetensors", HF)
    loose.mkdir()
    write_safetensors_file(loose / "Wan2_1-T2V.safetensors", DIT)
    write_torch(loose / "vae.pth", VAE)
    write_safetensors_file(loose / "umt5-xxl-enc.safetensors", TEXT)
    (loose / "notes.bin").write_bytes(b"no weights")
    write_safetensors_file(tmp_path / "all.safetensors", FLAT["checkpoint"][1])
    code, said = run("import", "--wan", diffusers, "--out", tmp_path / "ckpt")
    assert code == 0, said
    assert_imported(tmp_path / "ckpt", PARTS)
    assert (tmp_path / "ckpt" / "tokenizer.json").read_bytes() == tokenizer
    for place in (diffusers, comfyui, loose, tmp_path / "all.safetensors"):
        sources = sources_of("--wan", place)
        assert list(sources) == list(PARTS)
        for part, file in sources.items():
            assert_same(open_part_of_file(file, part), part)
        _, seen = run("inspect", place)
        assert seen.count("preset tiny") == 3, seen
    # A part's own folder, or that of the whole model.
    for place in (diffusers / "transformer", diffusers, comfyui):
        assert_same(open_part_of_file(sources_of("--shotstream", place)["dit"], "dit"), "dit")
    write_safetensors_file(files / "vae" / "copy.safetensors", VAE)
    code, said = run("import", "--wan", comfyui, "--out", tmp_path / "x")
    assert code == 2 and "several files with the autoencoder (copy.safetensors, wan_2.1_vae" in said
    code, said = run("import", "--wan", tmp_path / "ckpt", "--out", tmp_path / "x")
    assert code == 2 and "is a checkpoint already" in said


def test_the_other_transformer_is_named(run, tmp_path, caplog):
    """generator goes first, and --key takes another: in dictionaries, and in names."""
    averaged = {name: array + 1 for name, array in DIT.items()}
    write_torch(tmp_path / "x.pt", {"generator": DIT, "generator_ema": averaged, "critic": DIT})
    names = behind("generator.", DIT) | behind("generator_ema.", averaged)
    write_safetensors_file(tmp_path / "x.safetensors", names)
    for file in (tmp_path / "x.pt", tmp_path / "x.safetensors"):
        caplog.clear()
        assert_same(open_part_of_file(file, "dit"), "dit")
        assert re.search(r"generator.? is taken; there is also generator_ema", caplog.text)
        caplog.clear()
        got = open_part_of_file(file, "dit", "generator_ema")["head.head.bias"]
        np.testing.assert_array_equal(np.asarray(got), averaged["head.head.bias"])
        assert "is taken" not in caplog.text
    write_torch(tmp_path / "x.pt", {"a": DIT, "b": DIT})
    code, said = run("import", "--shotstream", tmp_path / "x.pt", "--out", tmp_path / "x")
    assert code == 2 and "the transformer several times: a, b; choose with --key" in said
    code, _ = run(
        "import", "--shotstream", tmp_path / "x.pt", "--key", "b", "--out", tmp_path / "x"
    )
    assert code == 0


def test_what_is_not_used_is_named(run, tmp_path):
    """Other parts, other tensors, adapters and everything that is no tensor."""
    extra = {"ema.decay": np.ones(1, np.float32), "logvar": np.ones(1, np.float32)}
    write_safetensors_file(tmp_path / "x.safetensors", FLAT["checkpoint"][1] | extra)
    code, said = run("import", "--vae", tmp_path / "x.safetensors", "--out", tmp_path / "a")
    want = "not used: ema.decay, logvar, the transformer in model.diffusion_model."
    assert code == 0 and want in said and "the text encoder in cond_stage_model." in said
    factors = {f"blocks.0.self_attn.q.lora_{x}.weight": np.ones((1, 1), np.float32) for x in "AB"}
    content = {"generator": DIT, "generator_lora": factors, "step": 5}
    write_torch(tmp_path / "x.pt", content)
    code, said = run("import", "--shotstream", tmp_path / "x.pt", "--out", tmp_path / "b")
    assert (
        code == 0 and "not used: step, the adapter in generator_lora, which is not merged" in said
    )
    _, seen = run("inspect", tmp_path / "x.pt")
    assert "adapter of rank 1" in seen and re.search(r"not used +step", seen)


def wan(part: str, **changes) -> dict:
    """Names of wan-1.3b; the arrays are views of one zero, and changes are shapes."""
    shapes = checkpoints.part_table(find_preset("wan-1.3b"), part).shapes()
    shapes |= {name.replace("__", "."): shape for name, shape in changes.items()}
    return {name: np.broadcast_to(np.float16(0), shape) for name, shape in shapes.items()}


def small(part: str, **changes) -> dict:
    arrays = {name.replace("__", "."): np.zeros(s, np.float32) for name, s in changes.items()}
    return STATES[part] | arrays


TAEHV = decoder_table(decoder_config("taehv", find_preset("wan-1.3b").vae)).shapes()
STRANGERS = {
    "image": ("dit", small("dit", img_emb__proj__0__weight=(3,)), "image-to-video"),
    "image-keys": (
        "dit",
        small("dit", blocks__0__cross_attn__k_img__weight=(3,)),
        "image-to-video",
    ),
    "image-channels": ("dit", small("dit", patch_embedding__weight=(128, 36, 1, 2, 2)), "image"),
    "vace": ("dit", small("dit", vace_patch_embedding__weight=(3,)), "VACE"),
    "5b": ("dit", small("dit", patch_embedding__weight=(3072, 48, 1, 2, 2)), "Wan 2.2 TI2V-5B"),
    "turbo": ("dit", small("dit", patch_embedding__weight=(128, 64)), "TurboDiffusion"),
    "turbo-attention": (
        "dit",
        small("dit", blocks__0__self_attn__attn_op__local_attn__proj_l__weight=(3,)),
        "TurboDiffusion",
    ),
    "nvfp4": ("dit", small("dit", blocks__0__ffn__0__weight_scale_2=()), "nvfp4"),
    "unmerged": ("dit", small("dit", blocks__0__ffn__0__lora_A__weight=(2, 2)), "not merged"),
    "lora": (
        "dit",
        {"diffusion_model.blocks.0.ffn.0.lora_down.weight": np.zeros((2, 3), np.float32)},
        "adapter (LoRA)",
    ),
    "vae-as-dit": ("dit", VAE, "it has autoencoder (the file itself); --vae reads it"),
    "dit-as-vae": ("vae", FLAT["comfyui"][1], "it has transformer (model.diffusion_model.)"),
    "tiny-as-vae": (
        "vae",
        {name: np.zeros(shape, np.float16) for name, shape in TAEHV.items()},
        "it has tiny autoencoder (the file itself); --decoder reads it",
    ),
    "t5": ("text", small("text", token_embedding__weight=(32128, 8)), "T5 v1.1"),
    "clip": ("text", {"text_model.embeddings.weight": np.zeros(3, np.float32)}, "CLIP"),
    "mixed-tied": (
        "text",
        HF | {"encoder.embed_tokens.weight": HF["shared.weight"] + 1},
        "there twice under different names",
    ),
    "twice": ("dit", DIT | behind("_orig_mod.", DIT), "there twice, with wrappers"),
    "nothing": ("vae", {"a.b": np.zeros(3, np.float32)}, "of no known layout: a.b"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_not_read_is_refused_by_its_name(run, tmp_path, name):
    """And inspect says no preset of it."""
    part, state, message = STRANGERS[name]
    file = tmp_path / "x.safetensors"
    write_safetensors_file(file, state)
    code, said = run("import", OPTIONS[part], file, "--out", tmp_path / "ckpt")
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert code == 2 and len(errors) == 1 and message in errors[0], said
    assert not list(tmp_path.glob("ckpt*"))
    _, seen = run("inspect", file)
    assert "Traceback" not in seen
    if part in seen.split("not read")[0] and "as-" not in name:
        assert "preset" not in seen.split("not read")[0], seen


def test_the_nearest_preset_is_that_of_the_size():
    state = wan("dit")
    del state["blocks.3.norm3.bias"]
    with pytest.raises(InputError, match=r"nearest is wan-1.3b.* blocks.3.norm3.bias \(nothing"):
        checkpoints.find_preset_of({"dit": state})
    other = wan("dit", head__head__weight=(64, 1024))
    with pytest.raises(InputError, match=r"nearest is wan-1\.3b"):
        checkpoints.find_preset_of({"dit": other})


def test_a_text_encoders_own_tokeniser(run, tmp_path):
    """SentencePiece bytes among the weights are the tokeniser, unless another is given."""
    pieces = [("<pad>", 3), ("</s>", 3), ("<unk>", 2), ("▁a", 1), ("▁frog", 1)]
    model = b""
    for text, kind in pieces:
        inner = bytes([10, len(text.encode())]) + text.encode() + bytes([24, kind])
        model += bytes([10, len(inner)]) + inner
    file = tmp_path / "x.safetensors"
    write_safetensors_file(file, HF | {"spiece_model": np.frombuffer(model, np.uint8)})
    code, said = run("import", "--text-encoder", file, "--out", tmp_path / "ckpt")
    assert code == 0 and "spiece_model in x.safetensors is the tokeniser" in said
    assert checkpoints.open_checkpoint(tmp_path / "ckpt").tokenizer().encode("a frog") == [3, 4]
    assert "SentencePiece tokeniser, used" in run("inspect", file)[1]
    # By its own file, by its folder, or by what lies beside it.
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "spiece.model").write_bytes(model)
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text("{}")
    for number, place in enumerate(("spiece.model", "", "tokenizer_config.json")):
        named = ("--tokenizer", tmp_path / "tokenizer" / place)
        out = tmp_path / f"ckpt{number}"
        assert run("import", "--text-encoder", file, *named, "--out", out)[0] == 0
        assert checkpoints.open_checkpoint(out).tokenizer().encode("a frog") == [3, 4]
    # What is none: named, and nothing written or not used.
    write_safetensors_file(file, HF | {"spiece_model": np.zeros(99, np.uint8)})
    code, said = run("import", "--text-encoder", file, "--out", tmp_path / "bad")
    assert code == 0 and "not used: spiece_model in x.safetensors is not" in said
    assert "not used: it is not a SentencePiece" in run("inspect", file)[1]
    (tmp_path / "spiece.model").write_bytes(model[:-1])
    named = ("--tokenizer", tmp_path / "spiece.model")
    code, said = run("import", "--text-encoder", file, *named, "--out", tmp_path / "none")
    assert code == 2 and "spiece.model is not a SentencePiece model" in said
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize("name", ["tiny", "tiny-teacher"])
def test_shipped_names(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, seen = run("inspect", name)
    assert code == 0 and re.search("preset +tiny", seen)
    assert run("export", name, "--out", tmp_path / "x.safetensors")[0] == 0
