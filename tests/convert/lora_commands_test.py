"""Adapters on the command line: what is refused and by which words, strengths, every command."""

import json
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import LARGEST_INPUTS, open_checkpoint
from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.checkpoint.save import add_facts, save
from shotstream_jax.convert import __main__ as app
from shotstream_jax.convert import checkpoints
from shotstream_jax.convert.lora.options import parse_source
from shotstream_jax.convert.naming import diffusers_dit
from shotstream_jax.convert.torch_io import read_torch, write_torch
from shotstream_jax.core.errors import InputError
from shotstream_jax.testing import tiny_model
from tests.convert.adapters import SHAPES, base_state, flat, random_factors
from tests.convert.containers import write_safetensors_file

Q = "blocks.0.self_attn.q"
RNG = np.random.default_rng(1)
BASE = base_state(RNG)
FACTORS = random_factors(RNG, Q, 4)
PAIR = {f"{Q}.lora_A.weight": FACTORS.down, f"{Q}.lora_B.weight": FACTORS.up}
PRODUCT = FACTORS.product(SHAPES[f"{Q}.weight"])


@pytest.fixture
def run(monkeypatch, capsys, caplog):
    def call(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.run(app.main)
        captured = capsys.readouterr()
        return stop.value.code, captured.out + captured.err

    return call


@pytest.fixture
def merge(run, tmp_path):
    """Merges adapters, given as state dicts, into the base; gives the outcome or the complaint."""
    write_safetensors_file(tmp_path / "base.safetensors", BASE)
    out = tmp_path / "merged.safetensors"

    def call(state, *options, metadata=None) -> tuple[dict, str]:
        write_safetensors_file(tmp_path / "x.safetensors", state, metadata)
        base, lora = tmp_path / "base.safetensors", tmp_path / "x.safetensors"
        out.unlink(missing_ok=True)
        code, text = run("merge-lora", base, "--lora", lora, *options, "--out", out)
        if code == 0:
            return load_file(out), text
        # Values are read while the bar is there, everything else is refused before.
        line = text.rpartition("error: ")[2]
        assert code == 2 and line.count("\n") == 1 and "Traceback" not in text, text
        assert not out.exists() and not list(tmp_path.glob("*partial*"))
        return {}, text

    return call


def pair(layer: str, inputs: int = 8, outputs: int = 8, rank: int = 2) -> dict:
    return {
        f"{layer}.lora_A.weight": np.zeros((rank, inputs), np.float32),
        f"{layer}.lora_B.weight": np.zeros((outputs, rank), np.float32),
    }


def tensors(*names: str, shape=(8, 8)) -> dict:
    return {name: np.ones(shape, np.float32) for name in names}


REFUSED = {
    "LoHa": (tensors("lycoris_blocks_0_self_attn_q.hada_w1_a"), "of the kind LoHa"),
    "LoKr": (tensors("lycoris_blocks_0_self_attn_q.lokr_w1"), "of the kind LoKr"),
    "OFT": (tensors(f"{Q}.oft_blocks"), "of the kind OFT"),
    "LoCon's core": (PAIR | tensors(f"{Q}.lora_mid.weight"), "lora_mid"),
    "embedding": (tensors("base_model.model.x.lora_embedding_A"), "LoRA of an embedding"),
    "GLoRA": (tensors("lora_unet_blocks_0_self_attn_q.a1.weight"), "of the kind GLoRA"),
    "fused": (pair("blocks.0.self_attn.to_qkv", outputs=24), "fused projections"),
    "image to video, keys": (PAIR | pair("diffusion_model.blocks.0.cross_attn.k_img"), "image-to-"),
    "image to video, Diffusers": (pair("transformer.blocks.0.attn2.add_v_proj"), "image-to-video"),
    "image to video, embedding": (pair("lora_unet_img_emb_proj_1"), "image-to-video"),
    "a text encoder": (PAIR | pair("lora_te_text_model_encoder_layers_0_q"), "a text encoder"),
    "14B, wide": (pair(Q, 5120, 5120), "14B model, which is 5120 wide"),
    "14B, deep": (PAIR | pair("blocks.39.self_attn.q"), "deeper model, such as 14B"),
    "another network": (pair("double_blocks.0.img_attn.proj"), "another architecture"),
    "unknown layer": (PAIR | pair("blocks.0.self_attn.gate"), "2 of its tensors would not be used"),
    "underscores that mean nothing": (pair("lora_unet_blocks_0_selfattn_q"), "does not fit"),
    "A alone": (dict([next(iter(PAIR.items()))]), "without its other factor"),
    "B alone": ({f"{Q}.lora_up.weight": FACTORS.up}, "lora_up.weight without its other factor"),
    "a bias alone": (tensors(f"{Q}.lora_B.bias", shape=(8,)), "without factors"),
    "a magnitude alone": (tensors(f"{Q}.dora_scale", shape=(8, 1)), "without factors"),
    "twice": (PAIR | {f"diffusion_model.{Q}.lora_down.weight": FACTORS.down}, f"{Q} twice"),
    "a whole module twice": (
        PAIR | tensors("base_model.model.head.head.weight", "base_model.model.proj_out.weight"),
        "head.head.weight twice",
    ),
    "wrong sides": (pair(Q, 8, 9), "[9, 2]·[2, 8] for weights [8, 8]"),
    "two ranks": (
        {f"{Q}.lora_A.weight": np.ones((3, 8), "f4"), f"{Q}.lora_B.weight": np.ones((8, 2), "f4")},
        "[8, 2]·[3, 8]",
    ),
    "rank 0": (pair(Q, rank=0), "it has no rank"),
    "factors of a vector": (pair("blocks.0.norm3"), "for weights [8]"),
    "a difference of another shape": (
        tensors("head.head.diff", shape=(9, 8)),
        "[9, 8] for [16, 8]",
    ),
    "a difference of nothing": (PAIR | tensors("blocks.0.self_attn.norm_q.diff_b"), "which the tr"),
    "magnitudes of inputs": (PAIR | tensors(f"{Q}.dora_scale", shape=(1, 8)), "magnitude [1, 8]"),
    "an alpha of many": (PAIR | tensors(f"{Q}.alpha", shape=(2,)), "alpha [2], expected one"),
    "an alpha that is none": (PAIR | {f"{Q}.alpha": np.array(np.nan, "f4")}, "which is no number"),
    "integers": ({k: v.astype(np.int8) for k, v in PAIR.items()}, "int8, weights must be floats"),
    "not finite": (
        PAIR | {f"{Q}.lora_B.weight": np.full((8, 4), np.inf, "f4")},
        "q.weight would not be finite with",
    ),
    "a whole model": ({f"model.{k}": v for k, v in BASE.items()}, "holds no adapter"),
    "a whole parameter": (
        PAIR | {"head.head.weight": BASE["head.head.weight"]},
        "head.head.weight",
    ),
    "a wrapped model": (
        PAIR | tensors(f"base_model.model.{Q}.base_layer.weight"),
        "wrapped by PEFT",
    ),
    "nothing": ({}, "holds no adapter: it has nothing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(merge, case):
    state, message = REFUSED[case]
    assert message in merge(state)[1]


@pytest.mark.parametrize(
    "config, message",
    [
        ({"peft_type": "LOHA"}, "of the kind LOHA"),
        ({"use_qalora": True}, "use_qalora (QA-LoRA)"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base too"),
        ({"target_parameters": ["blocks.0.modulation"]}, "target_parameters"),
        ({"r": 8}, f"says rank 8 of {Q}, its tensors have 4"),
        ({"rank_pattern": {"q": 2}}, f"says rank 2 of {Q}"),
        ({"r": 2.5}, "the rank 2.5"),
        ({"lora_alpha": None}, "has no lora_alpha"),
        ({"lora_alpha": "much"}, "lora_alpha 'much', which is no number"),
        ({"alpha_pattern": {"(": 3}}, "has the alpha_pattern '('"),
        ({"alpha_pattern": {"a" * 300: 3}}, "of 300 characters"),
        ({"alpha_pattern": {"q": True}}, "alpha_pattern True"),
        ({"alpha_pattern": [3]}, "no table of names"),
        (None, "is not readable as PEFT's settings"),
        ([], "holds a list"),
    ],
    ids=str,
)
def test_settings_that_are_not_read_are_named(merge, tmp_path, config, message):
    text = "{" if config is None else json.dumps(config)
    if isinstance(config, dict):
        text = json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8} | config)
    base, lora = tmp_path / "base.safetensors", tmp_path / "adapter"
    lora.mkdir()
    write_safetensors_file(lora / "adapter_model.safetensors", PAIR)
    (lora / "adapter_config.json").write_text(text)
    # The same from beside the file, and from the folder.
    with pytest.raises(InputError) as refused:
        app.main(["merge-lora", str(base), "--lora", str(lora), "--out", str(tmp_path / "no.pt")])
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_what_is_not_used_is_left_out_on_request(merge, caplog):
    state = PAIR | pair("blocks.0.cross_attn.k_img") | pair("lora_te_x_y")
    with caplog.at_level("WARNING"):
        got, _ = merge(state, "--ignore-unused")
    np.testing.assert_allclose(
        got[f"{Q}.weight"], BASE[f"{Q}.weight"] + PRODUCT, rtol=1e-4, atol=1e-4
    )
    for name in ("k_img.lora_A", "k_img.lora_B", "lora_te_x_y.lora_A", "lora_te_x_y.lora_B"):
        assert name in caplog.text
    # If nothing is left, there is nothing to merge.
    assert "does not fit" in merge(pair("lora_te_x_y"), "--ignore-unused")[1]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--alpha", "0"], "--alpha 0 must be above 0"),
        (["--alpha", "nan"], "--alpha nan must be above 0"),
        (["--rank", "3"], "has rank 4, not rank 3"),
        (["--lora", "nowhere"], "there is no weight file nowhere"),
        (["--lora", "nowhere:0.5"], "there is no weight file nowhere"),
        (["--lora", "x.safetensors:nan"], "the strength nan is not finite"),
        (["--lora", "x.safetensors:inf"], "the strength inf is not finite"),
        (["--lora", "x.safetensors:0.5", "--alpha", "4"], "--alpha is for one --lora"),
        (["--lora", "."], "holds no adapter: expected adapter_model.safetensors"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit(merge, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in merge(PAIR, *options)[1]


def test_a_path_with_colons(tmp_path, monkeypatch):
    """A file that is there goes before a strength; what is no number is a part of the name."""
    monkeypatch.chdir(tmp_path)
    for name in ("a:0.5", "a:0.5:2"):
        (tmp_path / name).touch()
    parsed = {}
    for text in ("a:0.5", "a:0.5:2", "a:0.5:-0.25", "a:b", "b:.5", "b:1e-1:0", "a:"):
        parsed[text] = (str(parse_source(text).path), parse_source(text).strength)
    assert parsed == {
        "a:0.5": ("a:0.5", 1.0),
        "a:0.5:2": ("a:0.5:2", 1.0),
        "a:0.5:-0.25": ("a:0.5", -0.25),
        "a:b": ("a:b", 1.0),
        "b:.5": ("b", 0.5),
        "b:1e-1:0": ("b:1e-1", 0.0),
        "a:": ("a:", 1.0),
    }


def test_several_adapters_add_up(run, tmp_path):
    """Strengths are factors, 0 leaves a weight bit for bit, and the sum is rounded once."""
    base = {k: v.astype(ml_dtypes.bfloat16) for k, v in BASE.items()}
    write_safetensors_file(tmp_path / "base.safetensors", base)
    key = "blocks.1.ffn.0"
    other = random_factors(RNG, key, 2)
    more = {f"{Q}.diff_b": np.ones(8, "f4"), f"{key}.lora_A": other.down, f"{key}.lora_B": other.up}
    write_safetensors_file(tmp_path / "a.safetensors", PAIR)
    write_torch(tmp_path / "b.pt", {"generator_lora": more | PAIR, "step": 3})
    zero = random_factors(RNG, "head.head", 1)
    last = {"head.head.lora_A": zero.down, "head.head.lora_B": zero.up}
    write_safetensors_file(tmp_path / "c.safetensors", last)
    names = ("a.safetensors:0.25", "b.pt:-0.5", "c.safetensors:0")
    loras = [word for name in names for word in ("--lora", tmp_path / name)]
    out = tmp_path / "out.safetensors"
    assert run("merge-lora", tmp_path / "base.safetensors", *loras, "--out", out)[0] == 0
    got = load_file(out)
    wide = {k: v.astype(np.float64) for k, v in base.items()}
    wide[f"{Q}.weight"] += (0.25 - 0.5) * PRODUCT
    wide[f"{Q}.bias"] -= 0.5
    wide[f"{key}.weight"] -= 0.5 * other.product(SHAPES[f"{key}.weight"])
    for name, want in wide.items():
        assert got[name].dtype == ml_dtypes.bfloat16
        np.testing.assert_allclose(got[name].astype("f4"), want, rtol=2**-8, atol=1e-3)
    assert np.array_equal(got["head.head.weight"], base["head.head.weight"])


def prefixed(name: str) -> str:
    return f"model.{name}"


def theirs(name: str) -> str:
    found = diffusers_dit().from_plain(name)
    assert found
    return found


@pytest.mark.parametrize("rename", [str, prefixed, theirs], ids=["plain", "prefix", "Diffusers"])
@pytest.mark.parametrize("wrapper", ["", "generator", "generator_ema", "state_dict"])
def test_the_bases_own_names_stay(run, tmp_path, rename, wrapper):
    """Whatever the base is called by, the adapter finds it; all other entries stay."""
    base = {rename(name): array for name, array in BASE.items()}
    content = {wrapper: base, "step": 7} if wrapper else base | {"step": 7}
    write_torch(tmp_path / "base.pt", content)
    adapter = {f"lora_unet_{flat(Q)}.lora_down.weight": FACTORS.down}
    adapter |= {f"lora_unet_{flat(Q)}.lora_up.weight": FACTORS.up}
    write_safetensors_file(tmp_path / "x.safetensors", adapter)
    words = (tmp_path / "base.pt", "--lora", tmp_path / "x.safetensors")
    assert run("merge-lora", *words, "--out", tmp_path / "out.pt")[0] == 0
    after = read_torch(tmp_path / "out.pt")
    assert list(after) == list(content) and after["step"] == 7
    got = after[wrapper] if wrapper else after
    for name, array in base.items():
        want = array + PRODUCT if name == rename(f"{Q}.weight") else array
        np.testing.assert_allclose(np.asarray(got[name]), want, rtol=1e-4, atol=1e-4)


def test_a_base_in_8_bits_becomes_floats(run, tmp_path):
    """ComfyUI's scaled float8: what it stands for, with the adapter; its scales are gone."""
    numbers = (RNG.standard_normal((8, 8)) * 30).astype(ml_dtypes.float8_e4m3fn)
    base = BASE | {f"{Q}.weight": numbers, f"{Q}.scale_weight": np.array(0.5, "f4")}
    base |= {"scaled_fp8": np.zeros(0, ml_dtypes.float8_e4m3fn)}
    write_safetensors_file(tmp_path / "base.safetensors", base)
    write_safetensors_file(tmp_path / "x.safetensors", PAIR)
    words = (tmp_path / "base.safetensors", "--lora", tmp_path / "x.safetensors")
    assert run("merge-lora", *words, "--out", tmp_path / "out.safetensors")[0] == 0
    got = load_file(tmp_path / "out.safetensors")
    assert got.keys() == BASE.keys() and got[f"{Q}.weight"].dtype == np.float32
    want = numbers.astype("f4") * 0.5 + PRODUCT
    np.testing.assert_allclose(got[f"{Q}.weight"], want, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint folder with a calibration, its transformer's file, an adapter and the sum."""
    folder = tmp_path_factory.mktemp("whole")
    save(tiny_model(), folder / "plain")
    add_facts(open_checkpoint(folder / "plain"), "dit", {LARGEST_INPUTS: {}}, folder / "ckpt")
    state = checkpoints.open_public_part(folder / "ckpt", "dit")
    checkpoints.export_part(state, "dit", folder / "dit.safetensors")
    outputs, inputs = state[f"{Q}.weight"].shape
    down, up = RNG.standard_normal((2, inputs)), RNG.standard_normal((outputs, 2))
    adapter = {f"{Q}.lora_A.weight": down, f"{Q}.lora_B.weight": up}
    adapter = {k: v.astype("f4") for k, v in adapter.items()}
    write_safetensors_file(folder / "x.safetensors", adapter)
    want = {name: np.asarray(array) for name, array in state.items()}
    want[f"{Q}.weight"] = (want[f"{Q}.weight"] + 0.5 * up @ down).astype("f4")
    return folder, want


def test_every_command_merges_alike(run, whole, tmp_path):
    """merge-lora, export, import and copy; a folder remembers, and forgets its calibration."""
    folder, want = whole
    lora = ("--lora", f"{folder / 'x.safetensors'}:0.5")
    files = (tmp_path / "merged.safetensors", tmp_path / "exported.safetensors")
    assert run("merge-lora", folder / "dit.safetensors", *lora, "--out", files[0])[0] == 0
    assert run("export", folder / "ckpt", *lora, "--out", files[1])[0] == 0
    for file in files:
        got = load_file(file)
        assert got.keys() == want.keys()
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-5)
    exported = load_file(files[1])

    copied, half = tmp_path / "copied", tmp_path / "half"
    assert run("copy", folder / "ckpt", *lora, "--dtype", "same", "--out", copied)[0] == 0
    assert run("copy", folder / "ckpt", *lora, "--part", "dit", "--out", half)[0] == 0
    for path, dtype in ((copied, np.float32), (half, np.float16)):
        entry = read_config(path)["parts"]["dit"]
        assert entry["adapters"] == ["x.safetensors:0.5"] and LARGEST_INPUTS not in entry
        state = checkpoints.open_public_part(path, "dit")
        for name in exported:
            assert np.array_equal(np.asarray(state[name]), exported[name].astype(dtype))
    assert "with x.safetensors:0.5 merged" in run("inspect", copied)[1]
    same = lambda a, b: np.testing.assert_array_equal(a, b)  # noqa: E731
    jax.tree.map(same, *(open_checkpoint(p).load_params("vae") for p in (copied, folder / "ckpt")))
    # On a copy without the transformer there is nothing to merge into.
    code, said = run("copy", folder / "ckpt", *lora, "--part", "vae", "--out", tmp_path / "no")
    assert code == 2 and "copy the part dit" in said


def test_import_merges(run, tmp_path):
    state = checkpoints.open_public_part("tiny", "dit")
    checkpoints.export_part(state, "dit", tmp_path / "dit.safetensors")
    outputs, inputs = state[f"{Q}.weight"].shape
    adapter = {f"{Q}.lora_A.weight": RNG.standard_normal((2, inputs)).astype("f4")}
    adapter |= {f"{Q}.lora_B.weight": RNG.standard_normal((outputs, 2)).astype("f4")}
    write_safetensors_file(tmp_path / "x.safetensors", adapter)
    lora = ("--lora", tmp_path / "x.safetensors")
    source = ("--shotstream", tmp_path / "dit.safetensors")
    assert run("import", *source, *lora, "--out", tmp_path / "ckpt")[0] == 0
    assert run("export", "tiny", *lora, "--out", tmp_path / "right.safetensors")[0] == 0
    got = checkpoints.open_public_part(tmp_path / "ckpt", "dit")
    for name, want in load_file(tmp_path / "right.safetensors").items():
        assert np.array_equal(np.asarray(got[name]), want)
    assert read_config(tmp_path / "ckpt")["parts"]["dit"]["adapters"] == ["x.safetensors:1"]
    vae = checkpoints.open_public_part("tiny", "vae")
    checkpoints.export_part(vae, "vae", tmp_path / "vae.safetensors")
    code, said = run(
        "import", "--vae", tmp_path / "vae.safetensors", *lora, "--out", tmp_path / "n"
    )
    assert code == 2 and "--lora is merged into a transformer" in said


def test_inspect_tells_ranks_and_alphas(run, tmp_path):
    mixed = PAIR | pair("blocks.0.self_attn.k", rank=2)
    write_safetensors_file(tmp_path / "x.safetensors", mixed)
    assert "adapter of rank 2, 4, no alpha" in run("inspect", tmp_path / "x.safetensors")[1]
    write_safetensors_file(tmp_path / "x.safetensors", PAIR, {"lora_alpha": "8"})
    assert "rank 4, alpha 8 by the header of" in run("inspect", tmp_path / "x.safetensors")[1]
    write_torch(tmp_path / "x.pt", PAIR | {f"{Q}.alpha": np.array(2.0, "f4")})
    assert "rank 4, alpha 2 by its tensors" in run("inspect", tmp_path / "x.pt")[1]
    write_safetensors_file(tmp_path / "x.safetensors", REFUSED["LoHa"][0])
    assert "not read" in run("inspect", tmp_path / "x.safetensors")[1]
