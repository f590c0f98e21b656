"""The tables of the three parts, transformer, autoencoder, text encoder, and of tiny decoders.

The public names are those of docs/method.md, section 5.
"""

from shotstream_jax.convert.names import CONV2D, CONV3D, Table
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.presets import Preset
from shotstream_jax.text.umt5 import UMT5Config
from shotstream_jax.vae.config import (
    DecoderConfig,
    Level,
    TinyConfig,
    VAEConfig,
    decoder_levels,
    encoder_levels,
)
from shotstream_jax.vae.tiny import BLOCKS, GROW, POOL


def part_table(preset: Preset, part: str) -> Table:
    """The table of a model's "dit", "vae" or "text"."""
    if part == "dit":
        return dit_table(preset.dit)
    if part == "vae":
        return vae_table(preset.vae)
    return umt5_table(preset.text)


def decoder_table(cfg: DecoderConfig) -> Table:
    """The table of a decoder that stands beside the autoencoder, with its encoder."""
    if isinstance(cfg, TinyConfig):
        return tiny_table(cfg)
    return vae_table(cfg)


def dit_table(cfg: DiTConfig) -> Table:
    """The transformer's table."""
    table = Table()
    d = cfg.dim
    token = cfg.patch**2 * cfg.channels
    # The patch is laid out (channel, time, row, column) there, (time, row, column, channel) here.
    patch_shape = (d, cfg.channels, 1, cfg.patch, cfg.patch)
    table.kernel("patch_embedding", patch_shape, "patch_embedding", CONV3D)
    # The MLPs of the prompt's embedding and of the time.
    table.linear("text_embedding.0", cfg.text_dim, d, "text_in")
    table.linear("text_embedding.2", d, d, "text_out")
    table.linear("time_embedding.0", cfg.freq_dim, d, "time_in")
    table.linear("time_embedding.2", d, d, "time_out")
    table.linear("time_projection.1", d, 6 * d, "time_projection")
    # The last projection, and its shift and scale.
    table.linear("head.head", d, token, "head")
    table.add("head.modulation", (1, 2, d), "head_table")
    for layer in range(cfg.layers):
        _dit_block(table.under(f"blocks.{layer}", "blocks", layer), cfg)
    return table


def _dit_block(block: Table, cfg: DiTConfig) -> None:
    d = cfg.dim
    # The six shifts, scales and gates of self-attention and the MLP.
    block.add("modulation", (1, 6, d), "table")
    # Both attentions have the same parameters; queries and keys are normed.
    for name in ("self_attn", "cross_attn"):
        attn = block.under(name, name)
        attn.linear("q", d, d, "q")
        attn.linear("k", d, d, "k")
        attn.linear("v", d, d, "v")
        attn.linear("o", d, d, "o")
        attn.vector("norm_q.weight", d, "norm_q/scale")
        attn.vector("norm_k.weight", d, "norm_k/scale")
    # norm3 is the affine norm before cross-attention.
    block.vector("norm3.weight", d, "norm_cross/scale")
    block.vector("norm3.bias", d, "norm_cross/bias")
    # The MLP.
    block.linear("ffn.0", d, cfg.ffn_dim, "ffn_in")
    block.linear("ffn.2", cfg.ffn_dim, d, "ffn_out")


def umt5_table(cfg: UMT5Config) -> Table:
    """The text encoder's table."""
    table = Table()
    table.add("token_embedding.weight", (cfg.vocab, cfg.dim), "embedding")
    table.vector("norm.weight", cfg.dim, "norm_out/scale")
    for layer in range(cfg.layers):
        _umt5_block(table.under(f"blocks.{layer}", "blocks", layer), cfg)
    return table


def _umt5_block(block: Table, cfg: UMT5Config) -> None:
    """Its Linears have no biases."""
    d = cfg.dim
    inner = cfg.heads * cfg.head_dim
    block.vector("norm1.weight", d, "norm_attn/scale")
    block.vector("norm2.weight", d, "norm_ffn/scale")
    # Every block has relative positions of its own.
    block.add("pos_embedding.embedding.weight", (cfg.buckets, cfg.heads), "positions")
    # Attention, and the gated MLP.
    block.linear("attn.q", d, inner, "q", bias=False)
    block.linear("attn.k", d, inner, "k", bias=False)
    block.linear("attn.v", d, inner, "v", bias=False)
    block.linear("attn.o", inner, d, "o", bias=False)
    block.linear("ffn.gate.0", d, cfg.ffn_dim, "gate", bias=False)
    block.linear("ffn.fc1", d, cfg.ffn_dim, "fc1", bias=False)
    block.linear("ffn.fc2", cfg.ffn_dim, d, "fc2", bias=False)


def vae_table(cfg: VAEConfig) -> Table:
    """The autoencoder's table."""
    table = Table()
    z = cfg.channels
    # The moments (mean and log-variance) after the encoder, and the way into the decoder.
    _pointwise(table, "conv1", 2 * z, 2 * z, "moments", space=3)
    _pointwise(table, "conv2", z, z, "from_latent", space=3)
    _encoder(table.under("encoder", "encoder"), cfg)
    _decoder(table.under("decoder", "decoder"), cfg)
    return table


def _encoder(encoder: Table, cfg: VAEConfig) -> None:
    """From 3 colours to twice the latent channels."""
    first = cfg.encoder_dims[0]
    last = cfg.encoder_dims[-1]
    _conv3d(encoder, "conv1", 3, first, "conv_in")
    _levels(encoder, "downsamples", encoder_levels(cfg), down=True)
    _middle(encoder.under("middle", "middle"), last)
    _gain(encoder, "head.0", last, "norm_out", space=3)
    _conv3d(encoder, "head.2", last, 2 * cfg.channels, "conv_out")


def _decoder(decoder: Table, cfg: VAEConfig) -> None:
    """From the latent channels to 3 colours."""
    first = cfg.decoder_dims[0]
    last = cfg.decoder_dims[-1]
    _conv3d(decoder, "conv1", cfg.channels, first, "conv_in")
    _middle(decoder.under("middle", "middle"), first)
    _levels(decoder, "upsamples", decoder_levels(cfg), down=False)
    _gain(decoder, "head.0", last, "norm_out", space=3)
    _conv3d(decoder, "head.2", last, 3, "conv_out")


def _levels(side: Table, public: str, levels: list[Level], *, down: bool) -> None:
    """The public names number blocks and resamplings through, over all levels."""
    # `number` goes on from level to level, as in the public names.
    number = 0
    for i, level in enumerate(levels):
        inputs = level.inputs
        for j in range(level.blocks):
            block = side.under(f"{public}.{number}", f"level{i}_block{j}")
            _residual(block, inputs, level.outputs)
            inputs = level.outputs
            number += 1
        if level.resample:
            direction = "down" if down else "up"
            resample = side.under(f"{public}.{number}", f"level{i}_{direction}")
            _resample(resample, level, down=down)
            number += 1


def _middle(middle: Table, c: int) -> None:
    """A residual block, attention within each frame, a residual block."""
    _residual(middle.under("0", "block0"), c, c)
    # A norm, queries, keys and values in one, and the projection.
    attention = middle.under("1", "attention")
    _gain(attention, "norm", c, "norm", space=2)
    _pointwise(attention, "to_qkv", c, 3 * c, "qkv", space=2)
    _pointwise(attention, "proj", c, c, "proj", space=2)
    _residual(middle.under("2", "block1"), c, c)


def _residual(block: Table, inputs: int, outputs: int) -> None:
    """Entries 0, 2, 3, 6 are norm, conv, norm, conv."""
    _gain(block, "residual.0", inputs, "norm1", space=3)
    _conv3d(block, "residual.2", inputs, outputs, "conv1")
    _gain(block, "residual.3", outputs, "norm2", space=3)
    _conv3d(block, "residual.6", outputs, outputs, "conv2")
    # Where the width changes, the shortcut needs a matrix.
    if inputs != outputs:
        _pointwise(block, "shortcut", inputs, outputs, "shortcut", space=3)


def _resample(resample: Table, level: Level, *, down: bool) -> None:
    """A convolution in space and, at some levels, one in time."""
    c = level.outputs
    # Upwards, the one in space halves the channels, and the one in time makes two frames of one.
    space_outputs = c if down else c // 2
    time_outputs = c if down else 2 * c
    resample.kernel("resample.1", (space_outputs, c, 3, 3), "space_conv", CONV2D)
    if level.time:
        resample.kernel("time_conv", (time_outputs, c, 3, 1, 1), "time_conv", CONV3D)


def _conv3d(table: Table, public: str, inputs: int, outputs: int, path: str) -> None:
    table.kernel(public, (outputs, inputs, 3, 3, 3), path, CONV3D)


def _pointwise(
    table: Table,
    public: str,
    inputs: int,
    outputs: int,
    path: str,
    *,
    space: int,
) -> None:
    """A 1×1(×1) convolution is a matrix here. space: its number of axes beside the channels."""
    axes = CONV3D if space == 3 else CONV2D
    table.kernel(public, (outputs, inputs) + (1,) * space, path, axes)


def _gain(table: Table, public: str, c: int, path: str, *, space: int) -> None:
    """A norm's factor for each channel, with axes of length 1 in the public file."""
    table.add(f"{public}.gamma", (c,) + (1,) * space, f"{path}/scale")


# What a level of the public tiny autoencoders has in a row: MemBlocks, then nearest-neighbour
# upsampling, growth and a convolution; in the encoder pooling and a convolution, then MemBlocks.
_DECODER_LEVEL = BLOCKS + 3
_ENCODER_LEVEL = 2 + BLOCKS


def tiny_table(cfg: TinyConfig) -> Table:
    """A tiny autoencoder's table: its layers are numbered in one row, those without weights too."""
    table = Table()
    _tiny_encoder(table.under("encoder", "encoder"), cfg)
    _tiny_decoder(table.under("decoder", "decoder"), cfg)
    return table


def grow_number(level: int) -> int:
    """The number of a decoder's level's growing convolution, after its blocks and upsampling."""
    first = 3  # clamp, convolution, ReLU
    return first + level * _DECODER_LEVEL + BLOCKS + 1


def _tiny_encoder(encoder: Table, cfg: TinyConfig) -> None:
    c = cfg.encoder
    _conv2d(encoder, "0", 3, c, "conv_in")
    number = 2  # convolution, ReLU
    for i, frames in enumerate(POOL):
        pooled = (c, frames * c, 1, 1)
        encoder.kernel(f"{number}.conv", pooled, f"level{i}_pool", CONV2D, bias=False)
        _conv2d(encoder, f"{number + 1}", c, c, f"level{i}_down", bias=False)
        _mem_blocks(encoder, number + 2, c, i)
        number += _ENCODER_LEVEL
    _conv2d(encoder, f"{number}", c, cfg.channels, "conv_out")


def _tiny_decoder(decoder: Table, cfg: TinyConfig) -> None:
    _conv2d(decoder, "1", cfg.channels, cfg.decoder[0], "conv_in")
    for i, frames in enumerate(GROW):
        c = cfg.decoder[i]
        number = grow_number(i)
        _mem_blocks(decoder, number - 1 - BLOCKS, c, i)
        grown = (frames * c, c, 1, 1)
        decoder.kernel(f"{number}.conv", grown, f"level{i}_grow", CONV2D, bias=False)
        _conv2d(decoder, f"{number + 1}", c, cfg.decoder[i + 1], f"level{i}_up", bias=False)
    # After the last level a ReLU.
    last = grow_number(len(GROW) - 1) + 3
    _conv2d(decoder, f"{last}", cfg.decoder[-1], 3, "conv_out")


def _mem_blocks(half: Table, number: int, c: int, level: int) -> None:
    """Convolutions are entries 0, 2, 4 of a block; the first sees two frames."""
    for j in range(BLOCKS):
        block = half.under(f"{number + j}.conv", f"level{level}_block{j}")
        _conv2d(block, "0", 2 * c, c, "conv0")
        _conv2d(block, "2", c, c, "conv1")
        _conv2d(block, "4", c, c, "conv2")


def _conv2d(
    table: Table, public: str, inputs: int, outputs: int, path: str, *, bias: bool = True
) -> None:
    table.kernel(public, (outputs, inputs, 3, 3), path, CONV2D, bias)
