"""Conversion is strict and its own inverse; broken files and folders are named."""

import collections
import dataclasses
import errno
import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shotstream_jax.checkpoint.arrays import ZarrArray, create_array
from shotstream_jax.checkpoint.checkpoint import SHIPPED, WEIGHTS, open_checkpoint
from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.convert import checkpoints
from shotstream_jax.convert.names import Table, check_table
from shotstream_jax.convert.reader import open_part_of_file
from shotstream_jax.convert.tables import part_table
from shotstream_jax.convert.torch_io import read_torch, write_torch
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import RULES, make_mesh, match_rule, param_shardings
from shotstream_jax.model import PARTS, abstract_params
from shotstream_jax.presets import find_preset
from shotstream_jax.testing import tiny_model
from tests.public_layout import from_public, lora_table, to_public

MODEL = tiny_model()
TINY, WAN = find_preset("tiny"), find_preset("wan-1.3b")
TOKENIZER = WEIGHTS / "tiny" / "tokenizer.json"
FILES = {"dit": "dit.safetensors", "vae": "vae.pth", "text": "text.pt"}


def public_state(model, part: str) -> dict[str, np.ndarray]:
    return to_public(part_table(model.preset, part), jax.tree.map(np.asarray, model.params[part]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Public files of the tiny preset, one of each kind; the text encoder in bf16."""
    folder, model = tmp_path_factory.mktemp("public"), load("tiny")
    save_file(public_state(model, "dit"), folder / FILES["dit"])
    write_torch(folder / FILES["vae"], public_state(model, "vae"))
    text = {k: v.astype(ml_dtypes.bfloat16) for k, v in public_state(model, "text").items()}
    write_torch(folder / FILES["text"], text)
    dit = {f"model.{k}": v for k, v in public_state(model, "dit").items()}
    optimizer = {"state": {"0": {"step": 3.0, "exp_avg": np.zeros(3, np.float32)}}, "lr": 1e-6}
    write_torch(
        folder / "training.pt", {"generator": dit, "generator_optimizer": optimizer, "step": 7}
    )
    return folder


@pytest.fixture
def files(made, tmp_path):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def sources(files, *parts: str) -> dict:
    return {part: files / FILES[part] for part in parts or PARTS}


def convert(files: dict, out, progress=lambda _: None) -> None:
    checkpoints.write_plan(checkpoints.prepare_import(files, out, preset=TINY), progress)


def import_all(run, files, out="ckpt", dit=FILES["dit"]):
    named = (
        "--shotstream",
        files / dit,
        "--vae",
        files / FILES["vae"],
        "--text-encoder",
        files / FILES["text"],
    )
    return run("import", *named, "--tokenizer", TOKENIZER, "--out", files / out)


@pytest.mark.parametrize("part", PARTS)
def test_there_and_back_is_the_identity(part):
    table, params = part_table(MODEL.preset, part), jax.tree.map(np.asarray, MODEL.params[part])
    state = to_public(table, params)
    assert {k: v.shape for k, v in state.items()} == table.shapes()
    back = from_public(table, abstract_params(MODEL.preset, part), state)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize("dit", [FILES["dit"], "training.pt"])
def test_import_load_export(run, files, dit):
    """From every kind of file to a model that equals its source, and back bit for bit."""
    code, _ = import_all(run, files, dit=dit)
    assert code == 0 and open_checkpoint(files / "ckpt").preset == TINY
    assert not list(files.glob("*.partial"))
    model, original = load(files / "ckpt"), load("tiny")
    jax.tree.map(np.testing.assert_array_equal, model.params["dit"], original.params["dit"])
    jax.tree.map(np.testing.assert_array_equal, model.params["vae"], original.params["vae"])
    for part in PARTS:
        for suffix in ("safetensors", "pt"):
            out = files / f"back_{part}.{suffix}"
            assert run("export", files / "ckpt", "--part", part, "--out", out)[0] == 0
            source, back = (read_any(part, path) for path in (files / FILES[part], out))
            assert source.keys() == back.keys()
            for key in source:
                assert source[key].dtype == back[key].dtype and np.array_equal(
                    source[key], back[key]
                )


def test_copies_with_fewer_bits_and_parts(run, tmp_path):
    save(MODEL, tmp_path / "whole")
    assert (
        run(
            "copy",
            tmp_path / "whole",
            "--part",
            "vae",
            "--dtype",
            "float16",
            "--out",
            tmp_path / "half",
        )[0]
        == 0
    )
    config = read_config(tmp_path / "half")
    assert list(config["parts"]) == ["vae"] and config["parts"]["vae"]["dtypes"] == ["float16"]
    assert open_checkpoint(tmp_path / "half").preset == MODEL.preset
    rounded = lambda got, want: np.testing.assert_array_equal(got, want.astype(np.float16))  # noqa: E731
    jax.tree.map(
        rounded,
        open_checkpoint(tmp_path / "half").load_params("vae"),
        jax.tree.map(np.asarray, MODEL.params["vae"]),
    )
    assert run("copy", tmp_path / "half", "--part", "dit", "--out", tmp_path / "more")[0] == 2


def test_copies_into_fewer_files(run, tmp_path):
    """One file a part, in the same types; from there back to a folder."""
    save(MODEL, tmp_path / "whole")
    options = ("--dtype", "same", "--storage")
    assert run("copy", tmp_path / "whole", *options, "file", "--out", tmp_path / "files")[0] == 0
    names = {"config.json", *(f"{part}.safetensors" for part in PARTS)}
    assert {path.name for path in (tmp_path / "files").iterdir()} == names
    assert run("copy", tmp_path / "files", *options, "folder", "--out", tmp_path / "back")[0] == 0
    for name in ("files", "back"):
        jax.tree.map(
            np.testing.assert_array_equal,
            load(tmp_path / name).params,
            jax.tree.map(np.asarray, MODEL.params),
        )
        assert read_config(tmp_path / name) == read_config(tmp_path / "whole")
    assert run("export", tmp_path / "files", "--out", tmp_path / "x.safetensors")[0] == 0
    exported, want = load_file(tmp_path / "x.safetensors"), public_state(MODEL, "dit")
    assert exported.keys() == want.keys()
    assert all(np.array_equal(exported[key], want[key]) for key in want)


def test_copies_without_the_shot_phase(run, tmp_path):
    """For an ablation: nothing else changes."""
    save(MODEL, tmp_path / "with")
    options = ("--dtype", "float32", "--shot-phase", "0", "--out", tmp_path / "without")
    assert run("copy", tmp_path / "with", *options)[0] == 0
    dit = dataclasses.replace(MODEL.preset.dit, shot_phase=0.0)
    assert open_checkpoint(tmp_path / "without").preset == dataclasses.replace(
        MODEL.preset, dit=dit
    )
    params = open_checkpoint(tmp_path / "without").load_params("dit")
    jax.tree.map(
        np.testing.assert_array_equal, params, jax.tree.map(np.asarray, MODEL.params["dit"])
    )
    code, complaint = run(
        "copy", tmp_path / "with", "--shot-phase", "nan", "--out", tmp_path / "other"
    )
    assert code == 2 and "shot phase nan is not an angle" in complaint


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped(name):
    """Sizes of the preset, few bytes; a teacher's encoders are those of its student."""
    assert open_checkpoint(name).preset == TINY
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 20e6
    for part in ("vae", "text"):
        jax.tree.map(
            np.testing.assert_array_equal,
            open_checkpoint(name).load_params(part),
            open_checkpoint("tiny").load_params(part),
        )
    kernels = [
        open_checkpoint(other).load_params("dit")["blocks"]["ffn_in"]["kernel"] for other in SHIPPED
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01  # the student has gone on from its teacher


def read_any(part: str, path) -> dict[str, np.ndarray]:
    state = open_part_of_file(path, part)
    return {key: np.asarray(state[key]) for key in state}


def test_inspect_tells_what_is_there(run, files):
    import_all(run, files)
    code, out = run("inspect", files / "ckpt")
    assert code == 0 and "preset" in out and "tiny" in out and "bfloat16" in out and "sha256" in out
    _, out = run("inspect", files / "training.pt")
    assert (
        "generator" in out and "dit, 177 tensors" in out and "preset tiny" in out and "step" in out
    )
    save_file({"a": np.zeros(3, np.float32)}, files / "odd.safetensors")
    assert "no known part" in run("inspect", files / "odd.safetensors")[1]
    convert(sources(files, "vae"), files / "only_vae")
    _, out = run("inspect", files / "only_vae")
    assert out.count("missing") == 3  # and the tokeniser
    with pytest.raises(InputError, match="lacks dit, text"):
        load(files / "only_vae")


def test_adapters_are_merged_on_the_command_line(run, files):
    """Into a training file, whose other keys stay, and when a folder is exported: the same."""
    rng, rank = np.random.default_rng(0), 3
    shapes = lora_table(TINY.dit, rank).shapes()
    adapter = {key: rng.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}
    write_torch(files / "lora.pt", {"generator_lora": adapter, "critic_lora": adapter, "step": 5})
    args = ("--lora", files / "lora.pt", "--alpha", 6)
    code, out = run(
        "merge-lora", files / "training.pt", *args, "--rank", rank, "--out", files / "merged.pt"
    )
    assert code == 0
    before, after = (read_torch(files / name) for name in ("training.pt", "merged.pt"))
    assert list(after) == list(before) and after["step"] == 7
    assert after["generator_optimizer"]["lr"] == before["generator_optimizer"]["lr"]
    moment = after["generator_optimizer"]["state"]["0"]["exp_avg"]
    assert np.array_equal(np.asarray(moment), np.zeros(3, np.float32))
    merged, base = read_any("dit", files / "merged.pt"), load_file(files / FILES["dit"])
    key = "blocks.1.ffn.2"
    low_rank = (
        adapter[f"base_model.model.{key}.lora_B.weight"]
        @ adapter[f"base_model.model.{key}.lora_A.weight"]
    )
    np.testing.assert_allclose(
        merged[f"{key}.weight"], base[f"{key}.weight"] + 2 * low_rank, atol=1e-5
    )
    assert np.array_equal(merged[f"{key}.bias"], base[f"{key}.bias"])
    import_all(run, files)
    assert run("export", files / "ckpt", *args, "--out", files / "exported.safetensors")[0] == 0
    exported = read_any("dit", files / "exported.safetensors")
    assert all(np.array_equal(exported[k], merged[k]) for k in merged)
    code, out = run(
        "merge-lora", files / "training.pt", *args, "--rank", 4, "--out", files / "no.pt"
    )
    assert code == 2 and "not rank 4" in out and not (files / "no.pt").exists()
    flat = {"extra": 5, **load_file(files / FILES["dit"])}
    write_torch(files / "flat.pth", flat)
    assert run("merge-lora", files / "flat.pth", *args, "--out", files / "flat_merged.pth")[0] == 0
    assert read_torch(files / "flat_merged.pth").keys() == flat.keys()
    assert run("merge-lora", files / "flat.pth", *args[:-1], 0, "--out", files / "no.pt")[0] == 2
    assert "adapter of rank 3" in run("inspect", files / "lora.pt")[1]


def diffusers_name(key: str) -> str:
    """A plain name in the …-Diffusers layout."""
    pairs = (
        ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
        ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
        ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
        ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
        ("time_projection.1", "condition_embedder.time_proj"),
        ("head.head", "proj_out"),
        ("head.modulation", "scale_shift_table"),
        ("modulation", "scale_shift_table"),
        ("self_attn", "attn1"),
        ("cross_attn", "attn2"),
        *((f".{n}.", f".to_{n}.") for n in "qkv"),
        (".o.", ".to_out.0."),
        ("norm3", "norm2"),
        ("ffn.0", "ffn.net.0.proj"),
        ("ffn.2", "ffn.net.2"),
    )
    for plain, theirs in pairs:
        key = key.replace(plain, theirs)
    return key


def test_the_diffusers_layout_and_sharded_files(files):
    state = load_file(files / FILES["dit"])
    theirs = {diffusers_name(key): value for key, value in state.items()}
    assert "blocks.0.attn1.to_out.0.weight" in theirs and "blocks.0.norm2.bias" in theirs
    names = sorted(theirs)
    shards = {"a.safetensors": names[:80], "b.safetensors": names[80:]}
    for shard, keys in shards.items():
        save_file({k: theirs[k] for k in keys}, files / shard)
    index = files / "x.safetensors.index.json"
    weight_map = {k: shard for shard, keys in shards.items() for k in keys}
    index.write_text(json.dumps({"weight_map": weight_map}))
    back = open_part_of_file(index, "dit")
    assert set(back) == set(state) and all(
        np.array_equal(np.asarray(back[k]), state[k]) for k in state
    )
    index.write_text(json.dumps({"weight_map": weight_map | {"lost": "a.safetensors"}}))
    with pytest.raises(InputError, match="disagree on lost"):
        open_part_of_file(index, "dit")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("blocks.0.norm3.bias"), r"1 missing: blocks.0.norm3.bias"),
        (
            lambda s: s.update({"extra.weight": np.zeros(3, np.float32)}),
            r"1 unexpected: extra.weight",
        ),
        (
            lambda s: s.update({"b.0.x": s.pop("blocks.0.norm3.bias")}),
            r"1 missing: blocks.0.*1 unexpected: b.0.x",
        ),
        (
            lambda s: s.update({"head.head.bias": np.zeros(3, np.float32)}),
            r"head.head.bias \[3\] for \[64\]",
        ),
        (
            lambda s: [s.pop(k) for k in list(s) if ".self_attn." in k],
            r"60 missing: .*v.weight, … \(50 more\)",
        ),
        (
            lambda s: s.update({"head.head.bias": np.zeros(64, np.int32)}),
            r"head.head.bias is int32, weights must be floats",
        ),
    ],
    ids=["missing", "unexpected", "renamed", "shape", "many", "type"],
)
def test_wrong_files_are_named(run, files, change, message):
    state = load_file(files / FILES["dit"])
    change(state)
    save_file(state, files / FILES["dit"])
    with pytest.raises(InputError, match=message):
        convert(sources(files), files / "ckpt")
    assert not (files / "ckpt").exists() and not (files / "ckpt.partial").exists()


def test_layers_of_several_types_get_one_that_holds_them_all(files):
    state = load_file(files / FILES["dit"])
    small = {"blocks.0.norm3.bias": np.float16, "blocks.1.norm3.bias": ml_dtypes.bfloat16}
    for key, dtype in small.items():
        state[key] = state[key].astype(dtype)
    save_file(state, files / FILES["dit"])
    convert(sources(files), files / "ckpt")
    back = checkpoints.open_public_part(files / "ckpt", "dit")
    for key, value in state.items():
        assert back[key].dtype == np.float32, key
        assert np.array_equal(np.asarray(back[key]), value.astype(np.float32)), key


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=["32", "16", "b"]
)
def test_weights_that_are_not_finite_are_named(run, files, value, dtype):
    """The first three of them, and nothing is left of the folder."""
    state = load_file(files / FILES["dit"])
    spoilt = [f"blocks.{layer}.ffn.0.bias" for layer in range(4)]
    for key in spoilt:
        state[key] = state[key].astype(dtype)
        state[key][-1] = value
    save_file(state, files / FILES["dit"])
    code, out = run("import", "--shotstream", files / FILES["dit"], "--out", files / "ckpt")
    named = ", ".join(spoilt[:3])
    assert code == 2 and f"not finite (nan or inf) in {named}: the file is damaged" in out
    assert FILES["dit"] in out and out.count("error:") == 1 and spoilt[3] not in out
    assert not (files / "ckpt").exists() and not (files / "ckpt.partial").exists()


def test_an_optimiser_among_the_weights_is_named(files, caplog):
    """It is left alone, and named: beside the wrapped transformer, and among the weights."""
    assert len(open_part_of_file(files / "training.pt", "dit")) == 177
    assert "not used: generator_optimizer, step" in caplog.text
    write_torch(files / "x.pth", public_state(load("tiny"), "vae") | {"optimizer": {"lr": 0.1}})
    convert({"vae": files / "x.pth"}, files / "ckpt")
    assert "x.pth: not used: optimizer" in caplog.text


def test_a_preset_that_does_not_match_names_the_first_difference(run, files):
    code, out = run(
        "import", "--shotstream", files / FILES["dit"], "--preset", "wan-1.3b", "--out", files / "x"
    )
    assert code == 2 and "blocks.0.cross_attn.k.bias [128] for [1536]" in out
    state = load_file(files / FILES["dit"])
    state["head.head.bias"] = np.zeros(3, np.float32)
    with pytest.raises(
        InputError,
        match=r"nearest is tiny, which differs first in head.head.bias \(\[3\] for \[64\]\)",
    ):
        checkpoints.find_preset_of({"dit": state})


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["import", "--out", "x"], "nothing to import"),
        (["import", "--wan", "nowhere", "--out", "x"], "no Wan folder nowhere"),
        (["import", "--vae", "nothing.pth", "--out", "x"], "no weight file nothing.pth"),
        (
            ["import", "--vae", "training.pt", "--out", "x"],
            "no autoencoder: it has transformer (generator); --shotstream reads it",
        ),
        (
            ["import", "--shotstream", "training.pt", "--key", "fake_score", "--out", "x"],
            "no transformer fake_score",
        ),
        (
            ["import", "--vae", "vae.pth", "--tokenizer", "t.json", "--out", "x"],
            "no tokeniser t.json",
        ),
        (["import", "--vae", "vae.pth", "--out", "dit.safetensors"], "exists already"),
        (
            ["export", "nowhere", "--out", "x.pt"],
            "nowhere is neither a folder nor one of the shipped models",
        ),
        (
            ["copy", "nowhere", "--out", "x"],
            "nowhere is neither a folder nor one of the shipped models",
        ),
        (["inspect", "readme.txt"], "no weight file readme.txt"),
        (
            ["export", "x", "--part", "vae", "--key", "generator", "--out", "x.pth"],
            "--key go with --part dit",
        ),
        (
            ["import", "--vae", "vae.pth", "--key", "generator", "--out", "x"],
            "--key chooses a transformer",
        ),
        (["inspect", "x" * 300], "File name too long"),
        (["explode"], "invalid choice: 'explode'"),
        ([], "required: command"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_mistakes_are_one_line(run, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    before = sorted(files.iterdir())
    code, out = run(*arguments)
    assert code == 2 and out.startswith("error: ") and out.count("\n") == 1 and message in out
    assert sorted(files.iterdir()) == before


def test_an_interrupted_import_leaves_no_folder(run, files, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(sources(files), files / "ckpt", interrupted)
    assert not (files / "ckpt").exists() and (files / "ckpt.partial").exists()
    with pytest.raises(InputError, match=r"no config\.json"):
        load(files / "ckpt.partial")
    assert import_all(run, files)[0] == 0  # it starts afresh
    assert load(files / "ckpt").preset == TINY


def test_a_disk_that_is_full_is_one_line(files, monkeypatch):
    free = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free(2**20))
    with pytest.raises(InputError, match=r"has 0.00 GB free, ckpt needs 0.01 GB"):
        convert(sources(files), files / "ckpt")
    monkeypatch.undo()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ZarrArray, "write", full)
    with pytest.raises(InputError, match=r"cannot write .*ckpt: No space left"):
        convert(sources(files), files / "ckpt")
    assert not list(files.glob("ckpt*"))


def test_storage_that_fails_says_so_as_the_system_does(tmp_path):
    store = create_array(tmp_path / "a", "x", (4,), np.dtype(np.float32), stacked=False)
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(OSError, match=r"Not a directory$"):
        store.write(np.zeros(4, np.float32))


def test_broken_folders_are_refused(tmp_path):
    folder = tmp_path / "ckpt"
    save(load("tiny"), folder)
    config = json.loads((folder / "config.json").read_text())
    for change, message in (
        ({"format": 9}, "format 9, this version reads 1"),
        ({"sizes": {"name": "x"}}, "sizes of a model do not fit"),
        ({"sizes": config["sizes"] | {"extra": 1}}, "sizes of a model do not fit"),
        ({"parts": {}}, "lacks dit, vae, text"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=message):
            load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="not a readable config"):
        load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    chunk = next(
        path
        for path in (folder / "vae" / "moments" / "kernel").rglob("*")
        if path.is_file() and path.name == "0"
    )
    good = chunk.read_bytes()
    for bad in (good[:-8], bytes([good[0] ^ 1]) + good[1:], None):  # cut, one bit, gone
        chunk.unlink() if bad is None else chunk.write_bytes(bad)
        with pytest.raises(InputError, match="damaged: convert it again"):
            load(folder)
        with pytest.raises(InputError, match="damaged: convert it again"):
            checkpoints.export_part(
                checkpoints.open_public_part(folder, "vae"), "vae", tmp_path / "x.pth"
            )
        assert not list(tmp_path.glob("x.pth*"))
    shutil.rmtree(folder / "vae" / "moments")
    with pytest.raises(InputError, match=r"lacks moments/bias, or it is damaged"):
        load(folder)
    with pytest.raises(InputError, match="neither a folder nor"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no weights of wan-1\.3b are shipped"):
        load("wan-1.3b")
    with pytest.raises(InputError, match="float8"):
        load("tiny", dtype="float8")


@pytest.mark.parametrize(
    "shape", [{"fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}, {"tensor": 8}], ids=str
)
def test_loading_onto_a_mesh(tmp_path, shape):
    """Eight devices: every parameter is on its rule's sharding and has the values of one device."""
    save(MODEL, tmp_path / "ckpt")
    mesh = make_mesh(shape)
    for part in PARTS:
        params = open_checkpoint(tmp_path / "ckpt").load_params(part, mesh=mesh)
        shardings = param_shardings(mesh, part, params)
        jax.tree.map(
            lambda a, s: pytest.fail(str(s)) if a.sharding != s else None, params, shardings
        )
        jax.tree.map(np.testing.assert_array_equal, params, MODEL.params[part])


def test_a_shipped_model_goes_onto_a_mesh_too():
    kernel = load("tiny", mesh=make_mesh({"fsdp": 8})).params["dit"]["blocks"]["ffn_in"]["kernel"]
    assert (
        tuple(kernel.sharding.spec) == (None, "fsdp", "tensor")
        and len(kernel.sharding.device_set) == 8
    )


def test_a_vocabulary_is_not_forgotten(tmp_path):
    save(load("tiny"), tmp_path / "ckpt")
    assert (tmp_path / "ckpt" / "tokenizer.json").read_bytes() == TOKENIZER.read_bytes()
    assert load(tmp_path / "ckpt").tokenizer.encode("The bear") == load("tiny").tokenizer.encode(
        "the bear"
    )
    (tmp_path / "ckpt" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"not a readable tokenizer.json"):
        load(tmp_path / "ckpt")


def test_sharding_rules():
    """Where each parameter lies; one without its one rule is refused, odd lengths stay whole."""
    mesh = make_mesh({"fsdp": 2, "tensor": 4})
    specs = jax.tree.map(
        lambda s: tuple(s.spec), param_shardings(mesh, "dit", abstract_params(WAN, "dit"))
    )
    blocks = specs["blocks"]
    for attn in (blocks["self_attn"], blocks["cross_attn"]):
        assert {attn[name]["kernel"] for name in "qkv"} == {(None, "fsdp", "tensor")}
        assert {attn[name]["bias"] for name in "qkv"} == {(None, "tensor")}
        assert attn["o"]["kernel"] == (None, "tensor", "fsdp")
    assert blocks["ffn_in"] == {"kernel": (None, "fsdp", "tensor"), "bias": (None, "tensor")}
    assert blocks["ffn_out"] == {"kernel": (None, "tensor", "fsdp"), "bias": (None, None)}
    text = jax.tree.map(
        lambda s: tuple(s.spec), param_shardings(mesh, "text", abstract_params(WAN, "text"))
    )["blocks"]
    assert {text[name]["kernel"] for name in ("q", "k", "v", "gate", "fc1")} == {
        (None, "fsdp", "tensor")
    }
    assert {text[name]["kernel"] for name in ("o", "fc2")} == {(None, "tensor", "fsdp")}
    odd = param_shardings(mesh, "text", {"embedding": jax.ShapeDtypeStruct((7, 8), np.float32)})
    assert tuple(odd["embedding"].spec) == (None, "tensor")
    for preset in ("wan-1.3b", "wan-14b", "tiny"):
        for part in PARTS:
            param_shardings(mesh, part, abstract_params(find_preset(preset), part))
    with pytest.raises(ValueError, match="matches 0 sharding rules"):
        match_rule(RULES["dit"], "blocks/new/kernel")
    with pytest.raises(ValueError, match="matches 2 sharding rules"):
        match_rule([("a.*", ()), (".*b", ())], "ab")
    with pytest.raises(InputError, match="does not cover 8 devices"):
        make_mesh({"fsdp": 3})
    with pytest.raises(InputError, match="'pipe'"):
        make_mesh({"pipe": 8})


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


def test_bfloat16_narrows_matrices_only(tmp_path):
    save(load("tiny"), tmp_path / "ckpt")
    for name in ("tiny", tmp_path / "ckpt"):
        params = load(name, dtype="bfloat16").params["dit"]
        assert params["blocks"]["ffn_in"]["kernel"].dtype == "bfloat16"
        assert (
            params["blocks"]["ffn_in"]["bias"].dtype
            == params["time_in"]["kernel"].dtype
            == "float32"
        )


def test_native_states_read_what_was_written(tmp_path):
    """Layers of a stacked parameter are read alone; a size other than the config's is refused."""
    save(MODEL, tmp_path / "ckpt")
    state = checkpoints.open_public_part(tmp_path / "ckpt", "dit")
    want = public_state(MODEL, "dit")
    assert set(state) == set(want) and all(
        np.array_equal(np.asarray(state[k]), want[k]) for k in want
    )
    wider = dataclasses.replace(MODEL.preset, dit=dataclasses.replace(MODEL.preset.dit, ffn_dim=64))
    with pytest.raises(InputError, match="convert it again"):
        dataclasses.replace(open_checkpoint(tmp_path / "ckpt"), preset=wider).load_params("dit")
    assert read_config(tmp_path / "ckpt")["sizes"]["name"] == "test"
