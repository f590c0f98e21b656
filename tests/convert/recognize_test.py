"""Parts are found by their names, behind any prefix and under every naming."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotstream_jax.convert.naming import diffusers_dit, diffusers_vae, hf_umt5, residuals_of
from shotstream_jax.convert.recognize import (
    find_parts,
    plain_parameter,
    strip_wrappers,
    unwrapped,
    wrappers_in,
)
from shotstream_jax.convert.tables import decoder_table, part_table
from shotstream_jax.core.errors import InputError
from shotstream_jax.presets import PRESETS, decoder_config, find_preset

NAMES = {
    part: list(part_table(find_preset("tiny"), part).shapes()) for part in ("dit", "vae", "text")
}
PREFIXES = (
    "",
    "model.",
    "model.diffusion_model.",
    "first_stage_model.",
    "text_encoders.umt5xxl.transformer.",
    "pipe.dit.",
    "encoder.",
    "blocks.",
)
WRAPPERS = ("_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod", "module")


def renamed(part: str, names: list[str], is_plain: bool) -> list[str]:
    if is_plain:
        return names
    naming = {
        "dit": diffusers_dit(),
        "vae": diffusers_vae(residuals_of(names)),
        "text": hf_umt5(),
    }[part]
    return [naming.from_plain(name) or "" for name in names]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32).map(random.Random))
def test_any_prefix_wrapper_and_naming(draw):
    """Several parts in one file: each comes back under its plain names, and with all of them."""
    names, want = [], {}
    parts = draw.sample(list(NAMES), draw.randint(1, 3))
    for part, prefix in zip(parts, draw.sample(PREFIXES, len(parts)), strict=True):
        theirs = [prefix + name for name in renamed(part, NAMES[part], draw.random() < 0.5)]
        want[part] = (prefix, dict(zip(theirs, NAMES[part], strict=True)))
        for name in theirs:
            modules = name.split(".")
            modules.insert(draw.randint(0, len(modules)), draw.choice(WRAPPERS))
            names.append(".".join(modules))
    groups = find_parts([strip_wrappers(name) for name in names])
    assert {group.part: (group.prefix, group.names) for group in groups} == want


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
@pytest.mark.parametrize("part", NAMES)
@pytest.mark.parametrize("is_plain", [True, False])
def test_a_part_is_never_taken_for_another(preset, part, is_plain):
    names = list(part_table(preset, part).shapes())
    (group,) = find_parts(renamed(part, names, is_plain))
    assert group.part == part and sorted(group.names.values()) == sorted(names)
    assert (group.label == "plain") == is_plain


def test_tiny_autoencoders():
    names = list(decoder_table(decoder_config("taehv", find_preset("wan-1.3b").vae)).shapes())
    for prefix in ("", "taesd.", "taehv_"):
        (group,) = find_parts([prefix + name for name in names])
        assert group.part == "decoder" and list(group.names.values()) == names


def test_what_is_no_part_is_none():
    assert (
        find_parts(["a", "conv1.weight", "blocks.0.norm1.weight", "x.patch_embedding.bias"]) == []
    )


def test_wrappers():
    name = "module.model._fsdp_wrapped_module.blocks.0._checkpoint_wrapped_module.ffn.0.weight"
    assert strip_wrappers(name) == "model.blocks.0.ffn.0.weight"
    assert wrappers_in([name, "a._orig_mod.b"]) == [
        "_fsdp_wrapped_module",
        "_checkpoint_wrapped_module",
        "_orig_mod",
        "module",
    ]
    with pytest.raises(InputError, match=r"a\.b is there twice"):
        unwrapped({"a.b": 1, "a._orig_mod.b": 2})


def test_one_parameter():
    assert plain_parameter("diffusion_model.blocks.3.self_attn.q.weight") == (
        "blocks.3.self_attn.q.weight"
    )
    assert plain_parameter("transformer.blocks.3.attn1.to_out.0.weight") == (
        "blocks.3.self_attn.o.weight"
    )
    assert plain_parameter("x.blocks.3.cross_attn.k_img.weight") is None
    assert plain_parameter("x.encoder.block.0.layer.1.DenseReluDense.wo.weight", "text") == (
        "blocks.0.ffn.fc2.weight"
    )
