"""Other programs' names: both ways, for every parameter of every preset."""

import pytest

from shotstream_jax.convert.naming import (
    diffusers_dit,
    diffusers_vae,
    hf_umt5,
    llama_umt5,
    residuals_of,
)
from shotstream_jax.convert.tables import part_table
from shotstream_jax.presets import PRESETS, find_preset

WAN = find_preset("wan-1.3b")
TABLES = {"dit": [diffusers_dit], "vae": [], "text": [hf_umt5, llama_umt5]}

# Names of public files, read off the files themselves.
PUBLIC = [
    (
        diffusers_dit(),
        "time_embedding.0.weight",
        "condition_embedder.time_embedder.linear_1.weight",
    ),
    (diffusers_dit(), "time_projection.1.bias", "condition_embedder.time_proj.bias"),
    (diffusers_dit(), "blocks.0.self_attn.q.weight", "blocks.0.attn1.to_q.weight"),
    (diffusers_dit(), "blocks.7.cross_attn.o.bias", "blocks.7.attn2.to_out.0.bias"),
    (diffusers_dit(), "blocks.0.self_attn.norm_q.weight", "blocks.0.attn1.norm_q.weight"),
    (diffusers_dit(), "blocks.29.norm3.weight", "blocks.29.norm2.weight"),
    (diffusers_dit(), "blocks.1.ffn.0.weight", "blocks.1.ffn.net.0.proj.weight"),
    (diffusers_dit(), "blocks.12.modulation", "blocks.12.scale_shift_table"),
    (diffusers_dit(), "head.modulation", "scale_shift_table"),
    (diffusers_dit(), "head.head.weight", "proj_out.weight"),
    (diffusers_vae(), "conv2.bias", "post_quant_conv.bias"),
    (
        diffusers_vae(),
        "encoder.middle.2.residual.6.weight",
        "encoder.mid_block.resnets.1.conv2.weight",
    ),
    (
        diffusers_vae(),
        "decoder.middle.1.to_qkv.weight",
        "decoder.mid_block.attentions.0.to_qkv.weight",
    ),
    (diffusers_vae(), "decoder.head.0.gamma", "decoder.norm_out.gamma"),
    (
        diffusers_vae(),
        "encoder.downsamples.10.residual.3.gamma",
        "encoder.down_blocks.10.norm2.gamma",
    ),
    (
        diffusers_vae(),
        "encoder.downsamples.5.time_conv.weight",
        "encoder.down_blocks.5.time_conv.weight",
    ),
    (
        diffusers_vae(),
        "decoder.upsamples.14.residual.2.weight",
        "decoder.up_blocks.3.resnets.2.conv1.weight",
    ),
    (
        diffusers_vae(),
        "decoder.upsamples.7.time_conv.bias",
        "decoder.up_blocks.1.upsamplers.0.time_conv.bias",
    ),
    (
        diffusers_vae(),
        "decoder.upsamples.4.shortcut.weight",
        "decoder.up_blocks.1.resnets.0.conv_shortcut.weight",
    ),
    (hf_umt5(), "token_embedding.weight", "shared.weight"),
    (hf_umt5(), "norm.weight", "encoder.final_layer_norm.weight"),
    (
        hf_umt5(),
        "blocks.23.pos_embedding.embedding.weight",
        "encoder.block.23.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    (
        hf_umt5(),
        "blocks.0.ffn.gate.0.weight",
        "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
    ),
    (llama_umt5(), "blocks.3.ffn.fc2.weight", "enc.blk.3.ffn_down.weight"),
    (llama_umt5(), "token_embedding.weight", "token_embd.weight"),
    (llama_umt5(), "norm.weight", "enc.output_norm.weight"),
]


@pytest.mark.parametrize("naming, plain, theirs", PUBLIC, ids=lambda v: v if type(v) is str else "")
def test_names_of_public_files(naming, plain, theirs):
    assert naming.from_plain(plain) == theirs
    assert naming.to_plain(theirs) == plain


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
@pytest.mark.parametrize("part", TABLES)
def test_every_parameter_has_one_name(preset, part):
    names = list(part_table(preset, part).shapes())
    namings = [make() for make in TABLES[part]]
    if part == "vae":
        namings.append(diffusers_vae(residuals_of(names)))
    for naming in namings:
        theirs = [naming.from_plain(name) for name in names]
        assert None not in theirs and len(set(theirs)) == len(names)
        assert [naming.to_plain(name) for name in theirs] == names
        if part == "vae":
            assert residuals_of(theirs) == residuals_of(names)


def test_what_follows_a_module_stays():
    """Adapters and scales have names of the module with endings of their own."""
    dit = diffusers_dit()
    assert dit.to_plain("blocks.3.attn1.to_out.0.lora_A.weight") == (
        "blocks.3.self_attn.o.lora_A.weight"
    )
    assert dit.from_plain("blocks.3.self_attn.q") == "blocks.3.attn1.to_q"
    assert dit.to_plain("blocks.3.attn1.to_query.weight") is None
    assert hf_umt5().to_plain("encoder.embed_tokens.weight") == "token_embedding.weight"
