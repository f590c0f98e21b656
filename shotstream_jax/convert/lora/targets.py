"""Which of a model's layers a name in an adapter's file means.

Names are looked up among those of the model that the adapter is for, never guessed: with any of the
known prefixes, plain or as Diffusers names them, with dots or, as kohya's programs write them, with
underscores in their place.
"""

import re
from collections.abc import Iterable

from shotstream_jax.convert.naming import diffusers_dit

_PREFIXES = (  # of names with dots; the first that fits is taken off, again and again
    "base_model.model.",
    "base_model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "pipe.dit.",
    "generator.",
    "model.",
    "unet.",
    "dit.",
)
_FLAT_PREFIX = re.compile(r"(lora_unet__?|lora_transformer_|lora_dit_|lycoris_)")
# What is taken off a layer's name before a pattern of PEFT is compared with it.
_PEFT_PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.")

# A part of a name → why this model has no such layer; the first that fits is told.
_REASONS = (
    (r"(^|[._])(lora_te\d*|text_encoder(_2)?|cond_stage_model)[._]", "of a text encoder"),
    (
        r"(k_img|v_img|img_emb|add_[kv]_proj|norm_added_|image_embedder|img_proj)",
        "of an image-to-video model",
    ),
    (r"(to_qkv|to_kv|[._]qkv\b|in_proj)", "of fused projections: split them into q, k, v"),
    (r"vace", "of a VACE model"),
    (
        r"(^|[._])(double|single)_(blocks|stream)|single_transformer_blocks",
        "of another architecture",
    ),
    (r"\bbase_layer\.weight$", "a whole model's, wrapped by PEFT: save the adapter alone"),
)
_BLOCK = re.compile(r"(?:^|[._])blocks[._](\d+)[._]")


class Targets:
    """The layers of a model by every name that they may have in an adapter's file."""

    def __init__(self, names: Iterable[str]) -> None:
        """names: the plain names of the model's parameters."""
        self.names = frozenset(names)
        self._plain: dict[str, str] = {}  # a name with dots → the layer's plain name
        self._flat: dict[str, str] = {}  # a name with underscores → the layer's plain name
        for layer in sorted(_layers(self.names)):
            theirs = diffusers_dit().from_plain(layer)
            for name in (layer, theirs or layer):
                self._plain.setdefault(name, layer)
                self._flat.setdefault(name.replace(".", "_"), layer)

    def find(self, layer: str) -> str | None:
        """The plain name of a layer, or of a parameter that is none's weight or bias; or None."""
        flat = _FLAT_PREFIX.match(layer)
        if flat:
            return self._flat.get(layer[flat.end() :].replace(".", "_"))
        while True:
            if layer in self._plain:
                return self._plain[layer]
            shorter = _without_prefix(layer, _PREFIXES)
            if shorter == layer:
                return None
            layer = shorter

    def find_parameter(self, name: str) -> str | None:
        """The plain name of a parameter."""
        # A parameter such as `modulation` by itself, or a layer's weight or bias.
        itself = self.find(name)
        if itself in self.names:
            return itself
        layer, _, ending = name.rpartition(".")
        plain = f"{self.find(layer)}.{ending}"
        return plain if plain in self.names else None

    def why_not(self, name: str) -> str:
        """Why there is no such layer, in some words; empty if that is not known."""
        for part, reason in _REASONS:
            if re.search(part, name):
                return reason
        # A deeper model has the same names with higher numbers.
        block = _BLOCK.search(name)
        if block and self._blocks and int(block[1]) >= self._blocks:
            return f"of a deeper model, such as 14B: this one has {self._blocks} blocks"
        return ""

    @property
    def _blocks(self) -> int:
        """How many blocks the model has."""
        numbers = {-1}
        for name in self.names:
            found = _BLOCK.match(name)
            if found:
                numbers.add(int(found[1]))
        return max(numbers) + 1


def peft_name(layer: str) -> str:
    """A layer's name as the patterns of an adapter_config.json mean it."""
    return _without_prefix(layer, _PEFT_PREFIXES)


def _layers(names: Iterable[str]) -> set[str]:
    """All modules that have parameters; and parameters such as `modulation` by themselves."""
    layers = set()
    for name in names:
        layer, _, ending = name.rpartition(".")
        layers.add(layer)
        if ending not in ("weight", "bias"):
            layers.add(name)
    return layers


def _without_prefix(name: str, prefixes: Iterable[str]) -> str:
    for prefix in prefixes:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
