"""Other programs' names of the parameters, and the plain names (docs/method.md, section 5).

A table is a list of pairs of modules, plain and theirs, in which `#` stands for a number. A name is
a module and what follows it, which stays as it is: `blocks.#.self_attn.q` ↔ `blocks.#.attn1.to_q`
renames `blocks.3.self_attn.q.weight`, and as well `blocks.3.self_attn.q.lora_A.weight`. Every table
is read in both directions:

    Diffusers, transformer     diffusers_dit()
    Diffusers, autoencoder     diffusers_vae(residual blocks of a level)
    Hugging Face's UMT5        hf_umt5()
    llama.cpp's UMT5           llama_umt5()
"""

import dataclasses
import functools
import re
from collections.abc import Iterable

Pair = tuple[str, str]  # a module's plain name and theirs

WAN_RESIDUALS = 3  # residual blocks in a row in each level of Wan's decoder
# Of the same tensor: the text encoder's table of tokens.
TIED_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")


@dataclasses.dataclass(frozen=True)
class Naming:
    """One program's names of a part ("dit", "vae" or "text").

    label: what the layout is called. pairs: all modules of the part.
    """

    label: str
    part: str
    pairs: tuple[Pair, ...]

    def to_plain(self, name: str) -> str | None:
        """The plain name of a parameter, or None if this table does not know it."""
        return _renamed(name, self._from_theirs)

    def from_plain(self, name: str) -> str | None:
        """The inverse of `to_plain`."""
        return _renamed(name, self._from_plain)

    @functools.cached_property
    def _from_theirs(self) -> list[tuple[re.Pattern[str], str]]:
        return _rules((theirs, plain) for plain, theirs in self.pairs)

    @functools.cached_property
    def _from_plain(self) -> list[tuple[re.Pattern[str], str]]:
        return _rules(self.pairs)


def _rules(pairs: Iterable[Pair]) -> list[tuple[re.Pattern[str], str]]:
    """Patterns of whole modules, and what they become."""
    rules = []
    for old, new in pairs:
        # A module ends where the name does, or at a dot.
        pattern = re.escape(old).replace(r"\#", r"(\d+)") + r"(?=\.|$)"
        rules.append((re.compile(pattern), new))
    return rules


def _renamed(name: str, rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, new in rules:
        found = pattern.match(name)
        if found:
            # The numbers are the same ones in the same order.
            for number in found.groups():
                new = new.replace("#", number, 1)
            return new + name[found.end() :]
    return None


@functools.cache
def diffusers_dit() -> Naming:
    """The transformer of a …-Diffusers folder."""
    embedder = "condition_embedder"
    pairs = [
        ("patch_embedding", "patch_embedding"),
        ("text_embedding.0", f"{embedder}.text_embedder.linear_1"),
        ("text_embedding.2", f"{embedder}.text_embedder.linear_2"),
        ("time_embedding.0", f"{embedder}.time_embedder.linear_1"),
        ("time_embedding.2", f"{embedder}.time_embedder.linear_2"),
        ("time_projection.1", f"{embedder}.time_proj"),
        ("head.head", "proj_out"),
        ("head.modulation", "scale_shift_table"),
        ("blocks.#.modulation", "blocks.#.scale_shift_table"),
        # Norms are numbered otherwise: the affine one is before cross-attention.
        ("blocks.#.norm3", "blocks.#.norm2"),
        ("blocks.#.ffn.0", "blocks.#.ffn.net.0.proj"),
        ("blocks.#.ffn.2", "blocks.#.ffn.net.2"),
    ]
    for plain, theirs in (("self_attn", "attn1"), ("cross_attn", "attn2")):
        for name in ("q", "k", "v"):
            pairs.append((f"blocks.#.{plain}.{name}", f"blocks.#.{theirs}.to_{name}"))
        pairs.append((f"blocks.#.{plain}.o", f"blocks.#.{theirs}.to_out.0"))
        for name in ("norm_q", "norm_k"):
            pairs.append((f"blocks.#.{plain}.{name}", f"blocks.#.{theirs}.{name}"))
    return Naming("Diffusers", "dit", tuple(pairs))


# A residual block's layers.
_RESIDUAL = (
    ("residual.0", "norm1"),
    ("residual.2", "conv1"),
    ("residual.3", "norm2"),
    ("residual.6", "conv2"),
    ("shortcut", "conv_shortcut"),
)
_MOST_LEVELS = 8  # more than any autoencoder has


@functools.cache
def diffusers_vae(residuals: int = WAN_RESIDUALS) -> Naming:
    """The autoencoder of a …-Diffusers folder.

    residuals: residual blocks in a row in each level of the decoder, whose plain names are numbered
    through over all levels.
    """
    pairs = [
        ("conv1", "quant_conv"),
        ("conv2", "post_quant_conv"),
    ]
    for side in ("encoder", "decoder"):
        pairs += _vae_ends(side)
    # The encoder's blocks stay numbered through.
    down = ("encoder.downsamples.#", "encoder.down_blocks.#")
    pairs += _under(down, _RESIDUAL)
    pairs += _under(down, _same("resample", "time_conv"))
    # In the decoder, a level is its residual blocks and one that makes the pictures larger.
    for level in range(_MOST_LEVELS):
        first = level * (residuals + 1)
        up = f"decoder.up_blocks.{level}"
        for j in range(residuals):
            block = (f"decoder.upsamples.{first + j}", f"{up}.resnets.{j}")
            pairs += _under(block, _RESIDUAL)
        larger = (f"decoder.upsamples.{first + residuals}", f"{up}.upsamplers.0")
        pairs += _under(larger, _same("resample", "time_conv"))
    return Naming("Diffusers", "vae", tuple(pairs))


def _vae_ends(side: str) -> list[Pair]:
    """First and last layers of the encoder or decoder, and the middle."""
    pairs = [
        (f"{side}.conv1", f"{side}.conv_in"),
        (f"{side}.head.0", f"{side}.norm_out"),
        (f"{side}.head.2", f"{side}.conv_out"),
    ]
    attention = (f"{side}.middle.1", f"{side}.mid_block.attentions.0")
    pairs += _under(attention, _same("norm", "to_qkv", "proj"))
    for plain, theirs in ((0, 0), (2, 1)):
        block = (f"{side}.middle.{plain}", f"{side}.mid_block.resnets.{theirs}")
        pairs += _under(block, _RESIDUAL)
    return pairs


def _under(module: Pair, layers: Iterable[Pair]) -> list[Pair]:
    """Pairs of a module's layers."""
    pairs = []
    for plain, theirs in layers:
        pairs.append((f"{module[0]}.{plain}", f"{module[1]}.{theirs}"))
    return pairs


def _same(*names: str) -> list[Pair]:
    """Layers that have the same name there and here."""
    return [(name, name) for name in names]


def residuals_of(names: Iterable[str]) -> int:
    """Residual blocks of a level in an autoencoder's decoder, by its plain or Diffusers names.

    Wan's number if the names do not tell.
    """
    # Theirs are numbered in each level; in the plain names, the first enlargement follows them.
    theirs = []
    enlargements = []
    for name in names:
        found = re.match(r"decoder\.up_blocks\.\d+\.resnets\.(\d+)\.", name)
        if found:
            theirs.append(int(found[1]) + 1)
        found = re.match(r"decoder\.upsamples\.(\d+)\.resample\.", name)
        if found:
            enlargements.append(int(found[1]))
    if theirs:
        return max(theirs)
    return min(enlargements, default=WAN_RESIDUALS)


@functools.cache
def hf_umt5() -> Naming:
    """The text encoder as Hugging Face's transformers name it.

    `encoder.embed_tokens.weight` is read too; `shared.weight` is written (TIED_EMBEDDINGS).
    """
    block = "encoder.block.#.layer"
    pairs = [
        ("token_embedding", "shared"),
        ("norm", "encoder.final_layer_norm"),
        ("blocks.#.norm1", f"{block}.0.layer_norm"),
        ("blocks.#.norm2", f"{block}.1.layer_norm"),
        # UMT5 has relative positions in every block.
        ("blocks.#.pos_embedding.embedding", f"{block}.0.SelfAttention.relative_attention_bias"),
        ("blocks.#.ffn.gate.0", f"{block}.1.DenseReluDense.wi_0"),
        ("blocks.#.ffn.fc1", f"{block}.1.DenseReluDense.wi_1"),
        ("blocks.#.ffn.fc2", f"{block}.1.DenseReluDense.wo"),
    ]
    for name in ("q", "k", "v", "o"):
        pairs.append((f"blocks.#.attn.{name}", f"{block}.0.SelfAttention.{name}"))
    # The other name of the table of tokens comes last: it is never written.
    pairs.append(("token_embedding", "encoder.embed_tokens"))
    return Naming("Hugging Face", "text", tuple(pairs))


@functools.cache
def llama_umt5() -> Naming:
    """The text encoder as llama.cpp names it, in GGUF files."""
    block = "enc.blk.#"
    pairs = [
        ("token_embedding", "token_embd"),
        ("norm", "enc.output_norm"),
        ("blocks.#.norm1", f"{block}.attn_norm"),
        ("blocks.#.norm2", f"{block}.ffn_norm"),
        ("blocks.#.pos_embedding.embedding", f"{block}.attn_rel_b"),
        ("blocks.#.ffn.gate.0", f"{block}.ffn_gate"),
        ("blocks.#.ffn.fc1", f"{block}.ffn_up"),
        ("blocks.#.ffn.fc2", f"{block}.ffn_down"),
    ]
    for name in ("q", "k", "v", "o"):
        pairs.append((f"blocks.#.attn.{name}", f"{block}.attn_{name}"))
    return Naming("llama.cpp", "text", tuple(pairs))
