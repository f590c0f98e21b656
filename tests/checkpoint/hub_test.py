"""Names on the hub: only what is needed is fetched, and whatever goes wrong is one line."""

import collections
import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import huggingface_hub
import huggingface_hub.file_download
import jax
import numpy as np
import pytest
import safetensors.numpy

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import WEIGHTS, open_checkpoint
from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.checkpoint.hub import fetch_file, is_hub_name, read_hub_name
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save_parts
from shotstream_jax.convert import __main__ as app
from shotstream_jax.core.errors import InputError
from tests.hub_server import COMMIT, REPO, HubServer

TOKEN = "hf_SecretSecretSecret"
TINY = WEIGHTS / "tiny"


def folder_files(folder: pathlib.Path, prefix: str = "") -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {prefix + p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """The shipped model's parts as public files, by the names of Wan's original repository."""
    folder = tmp_path_factory.mktemp("public")
    names = {
        "dit": "diffusion_pytorch_model.safetensors",
        "vae": "Wan2.1_VAE.pth",
        "text": "models_t5_umt5-xxl-enc-bf16.pth",
    }
    files = {"google/umt5-xxl/tokenizer.json": (TINY / "tokenizer.json").read_bytes()}
    for part, name in names.items():
        app.main(["export", "tiny", "--part", part, "--out", str(folder / name)])
        files[name] = (folder / name).read_bytes()
    return files


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts a server and points the library to it, with an empty cache and a token."""
    servers = []

    def start(files: dict[str, bytes]) -> HubServer:
        server = HubServer(files)
        servers.append(server)
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / f"cache{len(servers)}"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        return server

    # The library waits a second before it goes on with a broken connection.
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)
    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def run(monkeypatch, capsys, caplog):
    def call(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.run(app.main)
        captured = capsys.readouterr()
        return stop.value.code, captured.out + captured.err + caplog.text

    return call


@pytest.mark.parametrize(
    "text, parts",
    [
        ("hf:a/b", ("a/b", None, "")),
        ("a/b/", ("a/b", None, "")),
        ("hf:Wan-AI/Wan2.1-T2V-1.3B@v1.0", ("Wan-AI/Wan2.1-T2V-1.3B", "v1.0", "")),
        ("hf:a/b/c/d.safetensors", ("a/b", None, "c/d.safetensors")),
        ("hf:a/b@refs%2Fpr%2F1/c", ("a/b", "refs/pr/1", "c")),
    ],
)
def test_names(text, parts):
    assert tuple(read_hub_name(text)) == parts
    assert is_hub_name(text) == text.startswith("hf:")


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:a/b@", "hf:a/b@c@d", "hf:a/b/../c", "hf: /b"])
def test_names_that_are_none(text):
    with pytest.raises(InputError, match=r"expected hf:owner/name"):
        read_hub_name(text)


@pytest.mark.parametrize("place, revision", [("", ""), ("some/where/", ""), ("", "@v1")])
def test_a_checkpoint_is_fetched_and_kept(serve, monkeypatch, place, revision):
    """All of its folder and nothing else; later from the cache, also without a network."""
    own = folder_files(TINY, place)
    needed = sorted(name for name in own if "probe" not in name)
    server = serve(own | {"README.md": b"#", "other/dit.safetensors": b"no"})
    name = f"hf:{REPO}{revision}/{place}".rstrip("/")
    model = load(name)
    jax.tree.map(np.testing.assert_array_equal, model.params, load("tiny").params)
    assert server.fetched() == needed
    server.log.clear()
    assert open_checkpoint(name).missing == [] and not server.fetched()
    server.refuse = (500, "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    server.log.clear()
    assert open_checkpoint(name).missing == [] and not server.log
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server.stop()
    assert open_checkpoint(name).missing == []


def test_a_folder_of_arrays_and_its_copies(serve, tmp_path):
    """The cache's files are links; copies are files."""
    copy = ["copy", "tiny", "--part", "vae", "--dtype", "same", "--out", str(tmp_path / "own")]
    app.main(copy)
    server = serve(folder_files(tmp_path / "own") | {"notes/vae.txt": b"no"})
    opened = open_checkpoint(f"hf:{REPO}")
    assert "notes/vae.txt" not in server.fetched() and "vae/from_latent/kernel/zarr.json" in str(
        server.fetched()
    )
    save_parts({}, opened.preset, opened, tmp_path / "copy")
    shutil.rmtree(tmp_path / "cache1")
    open_checkpoint(tmp_path / "copy").load_params("vae")
    assert not [path for path in (tmp_path / "copy").rglob("*") if path.is_symlink()]


def test_the_token_goes_to_the_hub_alone(serve, run, tmp_path, caplog):
    caplog.set_level("DEBUG")
    server = serve(folder_files(TINY))
    server.cut.add("vae.safetensors")
    code, out = run("inspect", f"hf:{REPO}")
    assert code == 0 and TOKEN not in out
    tokens = {request.host: request.token for request in server.log}
    assert tokens == {"hub": f"Bearer {TOKEN}", "storage": None}
    for status, error in ((401, ""), (403, "GatedRepo"), (500, "")):
        server.refuse = (status, error)
        code, out = run("inspect", f"hf:{REPO}@v1")
        assert code == 2 and TOKEN not in out and server.url not in out.split("error: ")[1]


def test_a_broken_connection_is_resumed(serve, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 2**10)
    server = serve(folder_files(TINY))
    server.cut.add("dit.safetensors")
    load(f"hf:{REPO}")
    half = len(server.files["dit.safetensors"]) // 2
    requests = [r for r in server.log if (r.path, r.method) == ("/dit.safetensors", "GET")]
    first, second = [int((r.range or "bytes=0-")[6:-1]) for r in requests]
    # From the last whole chunk that came.
    assert first == 0 and half - 2**10 <= second <= half


def test_an_interrupted_fetch_goes_on_with_what_is_missing(serve, monkeypatch):
    server = serve(folder_files(TINY))
    get = huggingface_hub.file_download.http_get

    def interrupted(url, *args, **kwargs):
        if "dit.safetensors" in url:
            raise KeyboardInterrupt
        return get(url, *args, **kwargs)

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(f"hf:{REPO}")
    kept = set(server.fetched())
    monkeypatch.setattr(huggingface_hub.file_download, "http_get", get)
    # Offline it is not taken for whole.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="not wholly in the hub's cache, and HF_HUB_OFFLINE"):
        load(f"hf:{REPO}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server.log.clear()
    load(f"hf:{REPO}")
    assert "dit.safetensors" in server.fetched() and not kept & set(server.fetched())


@pytest.mark.parametrize(
    "refuse, message",
    [
        ((404, "RepoNotFound"), f"no repository {REPO}, or it is private: .* HF_TOKEN"),
        ((401, "RepoNotFound"), f"no repository {REPO}, or it is private"),
        ((403, "GatedRepo"), f"{REPO} is gated: agree to its terms .* HF_TOKEN"),
        ((401, ""), f"does not know the token that {REPO}|no repository {REPO}"),
        ((403, ""), f"forbids to read {REPO}"),
        ((404, "RevisionNotFound"), f"{REPO} has no revision"),
        ((500, ""), f"answered for {REPO} with status 500: try again"),
    ],
)
def test_refusals_are_one_line(serve, refuse, message):
    serve({"config.json": b"{}"}).refuse = refuse
    with pytest.raises(InputError, match=message) as error:
        load(f"hf:{REPO}")
    assert "\n" not in str(error.value)


def test_no_network_is_one_line(serve, monkeypatch):
    serve({}).stop()
    with pytest.raises(InputError, match="hub cannot be reached: check the network"):
        load(f"hf:{REPO}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE forbids"):
        load(f"hf:{REPO}")


def test_a_full_disk_is_one_line(serve, monkeypatch):
    serve(folder_files(TINY))
    usage = collections.namedtuple("usage", "free")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: usage(2**10))
        with pytest.raises(InputError, match=r"has 0.00 GB free, it needs .*HF_HOME"):
            load(f"hf:{REPO}")

    def fails(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", fails)
    with pytest.raises(InputError, match="the disk is full; HF_HOME"):
        load(f"hf:{REPO}")


def test_the_library_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'shotstream-jax\[hub\]'"):
        load(f"hf:{REPO}")


# Imports.


def test_an_import_takes_the_three_files_and_the_tokeniser(serve, public, run, tmp_path):
    unneeded = {
        "Wan2.1_VAE.safetensors": b"another form",
        "assets/picture.png": b"no",
        "google/umt5-xxl/spiece.model": b"no",
        "config.json": b'{"_class_name": "WanModel"}',
    }
    server = serve(public | unneeded)
    code, out = run("import", "--hub", REPO, "--out", tmp_path / "ckpt")
    assert code == 0, out
    assert set(server.fetched()) - {"config.json"} == set(public)
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path / "ckpt").params, load("tiny").params)
    for entry in read_config(tmp_path / "ckpt")["parts"].values():
        assert entry["source"]["hub"] == f"{REPO}@{COMMIT}"
    # A part that has a file of its own is not fetched.
    server.log.clear()
    shutil.rmtree(tmp_path / "cache1")
    own = tmp_path / "own.pth"
    own.write_bytes(public["Wan2.1_VAE.pth"])
    code, out = run("import", "--hub", f"{REPO}@v1", "--vae", own, "--out", tmp_path / "second")
    assert code == 0 and "Wan2.1_VAE.pth" not in server.fetched()
    assert "hub" not in read_config(tmp_path / "second")["parts"]["vae"]["source"]


def test_shards_are_those_of_the_index(serve, public, run, tmp_path):
    dit = public["diffusion_pytorch_model.safetensors"]
    header = json.loads(dit[8 : 8 + int.from_bytes(dit[:8], "little")])
    names = [name for name in header if name != "__metadata__"]
    index = {"weight_map": {name: "shard-1.safetensors" for name in names}}
    files = {
        "transformer/diffusion_pytorch_model.safetensors.index.json": json.dumps(index).encode(),
        "transformer/shard-1.safetensors": dit,
        "transformer/diffusion_pytorch_model.bin": b"another form",
        "transformer/shard-of-another.safetensors": b"no",
    }
    server = serve(files)
    code, out = run("import", "--hub", f"hf:{REPO}", "--out", tmp_path / "ckpt")
    assert code == 0, out
    assert server.fetched() == [*sorted(files)[1:2], "transformer/shard-1.safetensors"]
    del server.files["transformer/shard-1.safetensors"]
    code, out = run("import", "--hub", f"hf:{REPO}", "--out", tmp_path / "other")
    assert code == 2 and "lacks transformer/shard-1.safetensors" in out


def test_files_are_asked_for_by_name(serve, public, run, tmp_path):
    """Repositories of single files: the error lists them, and an option takes one."""
    file = "split_files/vae/wan_2.1_vae.pth"
    server = serve({file: public["Wan2.1_VAE.pth"], "split_files/big.safetensors": b"no"})
    code, out = run("import", "--hub", REPO, "--out", tmp_path / "ckpt")
    assert code == 2 and f"hf:{REPO}/{file}" in out and "name its files" in out
    assert not server.fetched()
    code, out = run("import", "--vae", f"hf:{REPO}/{file}", "--out", tmp_path / "ckpt")
    assert code == 0 and server.fetched() == [file]
    assert read_config(tmp_path / "ckpt")["parts"]["vae"]["source"]["hub"] == f"{REPO}@{COMMIT}"
    code, out = run("inspect", f"hf:{REPO}/{file}")
    assert code == 0 and "preset tiny" in out
    with pytest.raises(InputError, match=rf"no file x\.pth; its weights: .*hf:{REPO}/{file}"):
        fetch_file(f"hf:{REPO}/x.pth")


def test_an_adapter_is_a_file_or_a_folder(serve, public, run, tmp_path):
    """Also with a strength behind its name."""
    base = tmp_path / "base.safetensors"
    base.write_bytes(public["diffusion_pytorch_model.safetensors"])
    width = open_checkpoint("tiny").preset.dit.dim
    name = "base_model.model.blocks.0.self_attn.q"
    factors = {
        f"{name}.lora_A.weight": np.ones((1, width), np.float32),
        f"{name}.lora_B.weight": np.ones((width, 1), np.float32),
    }
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1}
    files = {"style/adapter_config.json": json.dumps(config).encode()}
    files["style/adapter_model.safetensors"] = safetensors.numpy.save(factors)
    server = serve(files | {"style/optimizer.pt": b"no"})
    for place in ("style:0.5", "style/adapter_model.safetensors:0.5"):
        out = tmp_path / "merged.safetensors"
        code, said = run("merge-lora", base, "--lora", f"hf:{REPO}/{place}", "--out", out)
        assert code == 0, said
        weight = "blocks.0.self_attn.q.weight"
        change = safetensors.numpy.load_file(out)[weight]
        change = change - safetensors.numpy.load_file(base)[weight]
        np.testing.assert_allclose(change, 0.5, atol=1e-2)
    assert server.fetched() == sorted(files)


def test_what_is_no_checkpoint_says_what_to_do(serve, public, run, tmp_path):
    serve(public)
    with pytest.raises(InputError, match=f"shotstream convert import --hub {REPO} --out DIR"):
        load(f"hf:{REPO}")
    serve({"README.md": b"#", "config.json": b"[]"})
    with pytest.raises(InputError, match=r"no weights that are known: README.md, config.json"):
        load(f"hf:{REPO}/")
    assert "no weights that are known" in run("import", "--hub", REPO, "--out", tmp_path / "x")[1]
    serve(folder_files(TINY))
    code, out = run("import", "--hub", REPO, "--out", tmp_path / "x")
    assert code == 2 and f"convert copy hf:{REPO} --dtype same --out DIR" in out


def test_by_environment_alone(serve, tmp_path):
    """A process of its own, set up as a user does it."""
    server = serve(folder_files(TINY))
    code = f"from shotstream_jax.checkpoint.hub import fetch_checkpoint as f; f('hf:{REPO}')"
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
    for offline in ("0", "1"):
        environment["HF_HUB_OFFLINE"] = offline
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert TOKEN.encode() not in done.stdout + done.stderr
