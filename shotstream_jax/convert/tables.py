"""The tables of the three parts: transformer, autoencoder, text encoder (spec page 5)."""

from shotstream_jax.convert.names import CONV2D, CONV3D, LINEAR, Table
from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.presets import Preset
from shotstream_jax.text.umt5 import UMT5Config
from shotstream_jax.vae.config import Level, VAEConfig, decoder_levels, encoder_levels


def part_table(preset: Preset, part: str) -> Table:
    """The table of a model's "dit", "vae" or "text"."""
    if part == "dit":
        return dit_table(preset.dit)
    return vae_table(preset.vae) if part == "vae" else umt5_table(preset.text)


def dit_table(cfg: DiTConfig) -> Table:
    table, d, token = Table(), cfg.dim, cfg.patch**2 * cfg.channels
    # The patch is laid out (channel, time, row, column) there, (time, row, column, channel) here.
    table.kernel(
        "patch_embedding", (d, cfg.channels, 1, cfg.patch, cfg.patch), "patch_embedding", CONV3D
    )
    for public, inputs, outputs, path in (
        ("text_embedding.0", cfg.text_dim, d, "text_in"),
        ("text_embedding.2", d, d, "text_out"),
        ("time_embedding.0", cfg.freq_dim, d, "time_in"),
        ("time_embedding.2", d, d, "time_out"),
        ("time_projection.1", d, 6 * d, "time_projection"),
        ("head.head", d, token, "head"),
    ):
        table.kernel(public, (outputs, inputs), path, LINEAR)
    table.add("head.modulation", (1, 2, d), "head_table")
    for i in range(cfg.layers):
        _dit_block(table, cfg, i)
    return table


def _dit_block(table: Table, cfg: DiTConfig, i: int) -> None:
    d, block = cfg.dim, f"blocks.{i}"
    table.add(f"{block}.modulation", (1, 6, d), "blocks/table", layer=i)
    for attn in ("self_attn", "cross_attn"):
        for name in "qkvo":
            table.kernel(f"{block}.{attn}.{name}", (d, d), f"blocks/{attn}/{name}", LINEAR, i)
        for name in ("norm_q", "norm_k"):
            table.add(f"{block}.{attn}.{name}.weight", (d,), f"blocks/{attn}/{name}/scale", layer=i)
    # norm3 is the affine norm before cross-attention.
    table.add(f"{block}.norm3.weight", (d,), "blocks/norm_cross/scale", layer=i)
    table.add(f"{block}.norm3.bias", (d,), "blocks/norm_cross/bias", layer=i)
    table.kernel(f"{block}.ffn.0", (cfg.ffn_dim, d), "blocks/ffn_in", LINEAR, i)
    table.kernel(f"{block}.ffn.2", (d, cfg.ffn_dim), "blocks/ffn_out", LINEAR, i)


def umt5_table(cfg: UMT5Config) -> Table:
    table, inner = Table(), cfg.heads * cfg.head_dim
    table.add("token_embedding.weight", (cfg.vocab, cfg.dim), "embedding")
    table.add("norm.weight", (cfg.dim,), "norm_out/scale")
    for i in range(cfg.layers):
        block = f"blocks.{i}"
        table.add(f"{block}.norm1.weight", (cfg.dim,), "blocks/norm_attn/scale", layer=i)
        table.add(f"{block}.norm2.weight", (cfg.dim,), "blocks/norm_ffn/scale", layer=i)
        table.add(
            f"{block}.pos_embedding.embedding.weight",
            (cfg.buckets, cfg.heads),
            "blocks/positions",
            layer=i,
        )
        for public, outputs, inputs, path in (
            *((f"attn.{n}", inner, cfg.dim, n) for n in "qkv"),
            ("attn.o", cfg.dim, inner, "o"),
            ("ffn.gate.0", cfg.ffn_dim, cfg.dim, "gate"),
            ("ffn.fc1", cfg.ffn_dim, cfg.dim, "fc1"),
            ("ffn.fc2", cfg.dim, cfg.ffn_dim, "fc2"),
        ):
            table.kernel(
                f"{block}.{public}", (outputs, inputs), f"blocks/{path}", LINEAR, i, bias=False
            )
    return table


def vae_table(cfg: VAEConfig) -> Table:
    table, z = Table(), cfg.channels
    _pointwise(table, "conv1", 2 * z, 2 * z, "moments", space=3)
    _pointwise(table, "conv2", z, z, "from_latent", space=3)
    _half(
        table,
        "encoder",
        "downsamples",
        encoder_levels(cfg),
        (3, cfg.encoder_dims[0]),
        (cfg.encoder_dims[-1], 2 * z),
    )
    _half(
        table,
        "decoder",
        "upsamples",
        decoder_levels(cfg),
        (z, cfg.decoder_dims[0]),
        (cfg.decoder_dims[-1], 3),
    )
    return table


def _half(
    table: Table,
    side: str,
    stack: str,
    levels: list[Level],
    conv_in: tuple[int, int],
    conv_out: tuple[int, int],
) -> None:
    """Encoder or decoder. Its blocks and resamplings are numbered through, over all levels."""
    _conv3d(table, f"{side}.conv1", *conv_in, f"{side}/conv_in")
    wide = levels[-1].outputs if side == "encoder" else levels[0].inputs
    _middle(table, f"{side}.middle", wide, f"{side}/middle")
    number = 0
    for i, level in enumerate(levels):
        for j in range(level.blocks):
            inputs = level.inputs if j == 0 else level.outputs
            _residual(
                table,
                f"{side}.{stack}.{number}",
                inputs,
                level.outputs,
                f"{side}/level{i}_block{j}",
            )
            number += 1
        if level.resample:
            _resample(
                table, f"{side}.{stack}.{number}", level, f"{side}/level{i}", down=side == "encoder"
            )
            number += 1
    _gain(table, f"{side}.head.0", conv_out[0], f"{side}/norm_out", space=3)
    _conv3d(table, f"{side}.head.2", *conv_out, f"{side}/conv_out")


def _middle(table: Table, public: str, c: int, path: str) -> None:
    _residual(table, f"{public}.0", c, c, f"{path}/block0")
    _gain(table, f"{public}.1.norm", c, f"{path}/attention/norm", space=2)
    _pointwise(table, f"{public}.1.to_qkv", c, 3 * c, f"{path}/attention/qkv", space=2)
    _pointwise(table, f"{public}.1.proj", c, c, f"{path}/attention/proj", space=2)
    _residual(table, f"{public}.2", c, c, f"{path}/block1")


def _residual(table: Table, public: str, inputs: int, outputs: int, path: str) -> None:
    """Entries 0, 2, 3, 6 are norm, conv, norm, conv."""
    _gain(table, f"{public}.residual.0", inputs, f"{path}/norm1", space=3)
    _conv3d(table, f"{public}.residual.2", inputs, outputs, f"{path}/conv1")
    _gain(table, f"{public}.residual.3", outputs, f"{path}/norm2", space=3)
    _conv3d(table, f"{public}.residual.6", outputs, outputs, f"{path}/conv2")
    if inputs != outputs:
        _pointwise(table, f"{public}.shortcut", inputs, outputs, f"{path}/shortcut", space=3)


def _resample(table: Table, public: str, level: Level, path: str, *, down: bool) -> None:
    c, path = level.outputs, f"{path}_{'down' if down else 'up'}"
    table.kernel(
        f"{public}.resample.1", (c if down else c // 2, c, 3, 3), f"{path}/space_conv", CONV2D
    )
    if level.time:
        table.kernel(
            f"{public}.time_conv", (c if down else 2 * c, c, 3, 1, 1), f"{path}/time_conv", CONV3D
        )


def _conv3d(table: Table, public: str, inputs: int, outputs: int, path: str) -> None:
    table.kernel(public, (outputs, inputs, 3, 3, 3), path, CONV3D)


def _pointwise(
    table: Table, public: str, inputs: int, outputs: int, path: str, *, space: int
) -> None:
    """A 1×1(×1) convolution is a matrix here."""
    table.kernel(public, (outputs, inputs) + (1,) * space, path, CONV3D if space == 3 else CONV2D)


def _gain(table: Table, public: str, c: int, path: str, *, space: int) -> None:
    table.add(f"{public}.gamma", (c,) + (1,) * space, f"{path}/scale")


def lora_table(cfg: DiTConfig, rank: int) -> Table:
    """PEFT's names of an adapter on every Linear of the blocks."""
    table = Table()
    for entry in dit_table(cfg).entries:
        if entry.path[0] != "blocks" or entry.path[-1] != "kernel":
            continue
        outputs, inputs = entry.shape
        name, path = (
            "base_model.model." + entry.public.removesuffix(".weight"),
            "/".join(entry.path[:-1]),
        )
        table.add(f"{name}.lora_A.weight", (rank, inputs), f"{path}/a", LINEAR, entry.layer)
        table.add(f"{name}.lora_B.weight", (outputs, rank), f"{path}/b", LINEAR, entry.layer)
    return table
