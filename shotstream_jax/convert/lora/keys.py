"""Names in an adapter's file: which layer each is about, and what it holds of it.

A name is a layer (convert/lora/targets) and an ending:

    lora_A lora_down lora.down                down      A [rank, in]
    lora_B lora_up lora.up                    up        B [out, rank]
    lora_B.bias                               up_bias   [out], beside B
    alpha                                     alpha     []
    lora_magnitude_vector dora_scale          magnitude [out], DoRA's lengths of the rows
    diff w_norm / diff_b b_norm / diff_m      a whole difference of weight, bias or modulation
    weight bias …                             whole     a parameter's new values
"""

import re
from typing import Literal, NamedTuple

from shotstream_jax.core.errors import InputError

KeyRole = Literal[
    "down", "up", "up_bias", "alpha", "magnitude", "diff", "diff_bias", "diff_modulation", "whole"
]

# PEFT puts the adapter's own name, mostly "default", behind its factors'.
_OWN = r"(\.(?!weight$|bias$)[^.]+)?"
# Ending → role; the first that fits is taken.
_ENDINGS: tuple[tuple[re.Pattern[str], KeyRole], ...] = (
    (re.compile(rf"\.lora_(A|down){_OWN}(\.weight)?$"), "down"),
    (re.compile(rf"\.lora_(B|up){_OWN}\.bias$"), "up_bias"),
    (re.compile(rf"\.lora_(B|up){_OWN}(\.weight)?$"), "up"),
    (re.compile(r"(_lora|\.lora|\.lora_linear_layer)\.down\.weight$"), "down"),
    (re.compile(r"(_lora|\.lora|\.lora_linear_layer)\.up\.weight$"), "up"),
    (re.compile(r"\.(lora_|network_)?alpha$"), "alpha"),
    (re.compile(rf"\.lora_magnitude_vector{_OWN}(\.weight)?$"), "magnitude"),
    (re.compile(r"\.dora_scale$"), "magnitude"),
    (re.compile(r"\.(diff|w_norm)$"), "diff"),
    (re.compile(r"\.(diff_b|b_norm)$"), "diff_bias"),
    (re.compile(r"\.diff_m$"), "diff_modulation"),
)
# A part of a name → the kind of adapter, none of which is read.
_FOREIGN = (
    (r"\.hada_", "LoHa (Hadamard products)"),
    (r"\.lokr_", "LoKr (Kronecker products)"),
    (r"\.(oft|boft)_", "OFT (rotations)"),
    (r"\.(vera|vblora|randlora)_", "VeRA and its kin (shared factors)"),
    (r"\.ia3_", "IA3 (factors of activations)"),
    (r"\.lora_mid\b", "LoCon with a core tensor (lora_mid)"),
    (r"\.lora_embedding_[AB]\b", "LoRA of an embedding"),
    (r"\.[ab][12]\.weight$", "GLoRA"),
)
# What FSDP, torch.compile, checkpointing and data parallelism put into names.
_WRAPPERS = {"_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod", "module"}


class AdapterKey(NamedTuple):
    """A name in an adapter's file.

    layer: as the file calls it, or a parameter if `role` is "whole". role: what it holds.
    """

    layer: str
    role: KeyRole


def parse_key(name: str) -> AdapterKey:
    """Takes a name apart. Raises InputError for a kind of adapter that is not read, by its name."""
    for part, kind in _FOREIGN:
        if re.search(part, name):
            raise InputError(f"{name} belongs to an adapter of the kind {kind}, which is not read")
    name = _without_wrappers(name)
    for ending, role in _ENDINGS:
        found = ending.search(name)
        if found:
            # Old diffusers files name the attention's processor, which holds the factors.
            layer = name[: found.start()].replace(".processor.", ".")
            return AdapterKey(layer, role)
    return AdapterKey(name, "whole")


def is_adapter_key(name: str) -> bool:
    """Whether a name has an adapter's ending, also that of a kind which is not read."""
    try:
        return parse_key(name).role != "whole"
    except InputError:
        return True


def _without_wrappers(name: str) -> str:
    """A name without what wraps its modules: in training, and in PEFT's own layers."""
    # The values that a module of PEFT was trained to, and the untouched ones beside them.
    name = re.sub(r"\.modules_to_save\.[^.]+\.", ".", name)
    name = re.sub(r"\.base_layer\.bias$", ".bias", name)
    kept = [part for part in name.split(".") if part not in _WRAPPERS]
    return ".".join(kept)
