"""Adapters that are refused, by the words that say why; nothing is written then."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from shotstream_jax.convert import __main__ as app
from shotstream_jax.core.errors import InputError
from tests.convert.adapters import SHAPES, base_state, random_factors
from tests.convert.containers import write_safetensors_file

Q = "blocks.0.self_attn.q"
RNG = np.random.default_rng(1)
BASE = base_state(RNG)
FACTORS = random_factors(RNG, Q, 4)
PAIR = {f"{Q}.lora_A.weight": FACTORS.down, f"{Q}.lora_B.weight": FACTORS.up}
PRODUCT = FACTORS.product(SHAPES[f"{Q}.weight"])


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
    "an alpha alone": (
        PAIR | tensors("head.head.alpha", shape=()),
        "head.head.alpha without factors",
    ),
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
        ({"alpha_pattern": {"a" * 300: 3}}, "alpha_pattern that is too involved"),
        ({"alpha_pattern": {"(a+)+q": 3}}, "too involved: '(a+)+q'"),
        ({"rank_pattern": {".*.*.*.*x": 3}}, "rank_pattern that is too involved"),
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
