"""Adapters on the command line: strengths, every command, bases of every form."""

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from shotstream_jax.checkpoint.checkpoint import LARGEST_INPUTS, open_checkpoint
from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.checkpoint.save import add_facts, save
from shotstream_jax.convert import checkpoints
from shotstream_jax.convert.lora.options import parse_source
from shotstream_jax.convert.naming import diffusers_dit
from shotstream_jax.convert.torch_io import read_torch, write_torch
from shotstream_jax.testing import tiny_model
from tests.convert.adapters import SHAPES, base_state, flat, random_factors
from tests.convert.containers import write_safetensors_file

Q = "blocks.0.self_attn.q"
RNG = np.random.default_rng(1)
BASE = base_state(RNG)
FACTORS = random_factors(RNG, Q, 4)
PAIR = {f"{Q}.lora_A.weight": FACTORS.down, f"{Q}.lora_B.weight": FACTORS.up}
PRODUCT = FACTORS.product(SHAPES[f"{Q}.weight"])


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
    return f"model.diffusion_model.{name}"


def theirs(name: str) -> str:
    found = diffusers_dit().from_plain(name)
    assert found
    return found


def wrapped(name: str) -> str:
    return f"_orig_mod.{name.replace('.self', '._checkpoint_wrapped_module.self')}"


NAMINGS = {"plain": str, "prefix": prefixed, "Diffusers": theirs, "wrapped": wrapped}


@pytest.mark.parametrize("rename", NAMINGS.values(), ids=NAMINGS)
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


def test_which_transformer_of_a_file(run, tmp_path, caplog):
    """The generator, or the one that is named, also in a dict of dicts; never an adapter."""
    states = {"generator_ema": BASE, "generator": BASE, "generator_lora": PAIR}
    write_torch(
        tmp_path / "base.pt", {"state_dict": states, "optimizer": {"m": {"x": BASE[Q + ".bias"]}}}
    )
    write_safetensors_file(tmp_path / "x.safetensors", PAIR)
    words = ("merge-lora", tmp_path / "base.pt", "--lora", tmp_path / "x.safetensors")
    for option, changed in (((), "generator"), (("--key", "generator_ema"), "generator_ema")):
        assert run(*words, *option, "--out", tmp_path / "out.pt")[0] == 0
        after = read_torch(tmp_path / "out.pt")["state_dict"]
        for name in ("generator", "generator_ema"):
            moved = np.asarray(after[name][f"{Q}.weight"]) - BASE[f"{Q}.weight"]
            np.testing.assert_allclose(moved, PRODUCT * (name == changed), atol=1e-5)
    code, said = run(*words, "--key", "critic", "--out", tmp_path / "no.pt")
    assert code == 2 and "holds no critic" in said and not (tmp_path / "no.pt").exists()


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
    mixed = PAIR | {"blocks.0.self_attn.k.lora_A": np.ones((2, 8), "f4")}
    write_safetensors_file(tmp_path / "x.safetensors", mixed)
    assert "adapter of rank 2, 4, no alpha" in run("inspect", tmp_path / "x.safetensors")[1]
    write_safetensors_file(tmp_path / "x.safetensors", PAIR, {"lora_alpha": "8"})
    assert "rank 4, alpha 8 by the header of" in run("inspect", tmp_path / "x.safetensors")[1]
    write_torch(tmp_path / "x.pt", PAIR | {f"{Q}.alpha": np.array(2.0, "f4")})
    assert "rank 4, alpha 2 by its tensors" in run("inspect", tmp_path / "x.pt")[1]
    write_safetensors_file(
        tmp_path / "x.safetensors",
        {"lycoris_blocks_0_self_attn_q.hada_w1_a": np.ones((8, 8), "f4")},
    )
    assert "not read" in run("inspect", tmp_path / "x.safetensors")[1]
