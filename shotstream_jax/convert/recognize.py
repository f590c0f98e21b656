"""Which parts of a model some names are, under which program's names, and behind which prefix.

Names in public files have wrappers anywhere (`_fsdp_wrapped_module.`) and a prefix that all names
of a part share (`model.diffusion_model.`). No list of prefixes is kept: a prefix is what stands
before the longest ending that the part's own names know. Numbers in names do not matter here, so
that a model of any depth is recognised:

    model.diffusion_model.blocks.3.self_attn.q.weight
    prefix ───────────────┘ blocks.#.self_attn.q.weight: the transformer, plain names
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from shotstream_jax.convert.names import State
from shotstream_jax.convert.naming import (
    Naming,
    diffusers_dit,
    diffusers_vae,
    hf_umt5,
    llama_umt5,
    residuals_of,
)
from shotstream_jax.convert.tables import decoder_table, part_table
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS
from shotstream_jax.presets import PRESETS, decoder_config

PLAIN = "plain"
TINY_DECODER = "decoder"  # a tiny autoencoder, as a part of its own (convert/decoders)

# What training and compiling put into names. No part has a module of such a name.
_WRAPPERS = (
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_orig_mod",
    "_forward_module",
    "module",
)
# ComfyUI's names of a tiny autoencoder.
_COMFY_DECODER = Naming(
    "ComfyUI", TINY_DECODER, (("decoder", "taehv_decoder"), ("encoder", "taehv_encoder"))
)


_Layout = tuple[str, str, str]  # part, label, prefix


class PartNames(NamedTuple):
    """Names of one part: all those that start with a prefix, without that of a longer one.

    label: of the layout, "plain" or a naming's. names: full name → plain name; what the part does
    not know keeps its name without the prefix.
    """

    part: str
    label: str
    prefix: str
    names: dict[str, str]


def strip_wrappers(name: str) -> str:
    """A name without the wrappers that are in it, wherever they stand."""
    kept = [module for module in name.split(".") if module not in _WRAPPERS]
    return ".".join(kept)


def unwrapped(state: State) -> State:
    """A state dict under names without wrappers. Raises InputError if two become the same."""
    plain = {}
    for name, array in state.items():
        short = strip_wrappers(name)
        if short in plain:
            raise InputError(f"{short} is there twice, with wrappers in its name and without")
        plain[short] = array
    return plain


def wrappers_in(names: Iterable[str]) -> list[str]:
    """The wrappers that occur in names, in a fixed order."""
    found: set[str] = set()
    for name in names:
        found |= set(name.split("."))
    return [wrapper for wrapper in _WRAPPERS if wrapper in found]


def find_parts(names: Iterable[str]) -> list[PartNames]:
    """The parts that names hold; names have no wrappers (`strip_wrappers`).

    A part may be there several times, behind several prefixes. It counts as there if at least half
    of the kinds of names that it has under one naming are there.
    """
    names = list(names)
    # The names that a layout knows behind each prefix, and of how many kinds they are.
    known_names: dict[_Layout, set[str]] = defaultdict(set)
    kinds: dict[_Layout, set[str]] = defaultdict(set)
    for name in names:
        for layout, kind in _readings(name):
            known_names[layout].add(name)
            kinds[layout].add(kind)
    # For each part and prefix the naming of which most is there.
    best: dict[tuple[str, str], tuple[float, str]] = {}
    for (part, label, prefix), found in kinds.items():
        share = len(found) / len(_known()[part, label])
        if share >= 0.5 and (share, label) > best.get((part, prefix), (0.0, "")):
            best[part, prefix] = (share, label)
    groups = []
    for (part, prefix), (_, label) in best.items():
        # What other parts know, or have behind a longer prefix, is theirs.
        theirs: set[str] = set()
        for (other, other_prefix), (_, other_label) in best.items():
            theirs |= known_names[other, other_label, other_prefix]
            if other_prefix != prefix and other_prefix.startswith(prefix):
                theirs |= {name for name in names if name.startswith(other_prefix)}
        theirs -= known_names[part, label, prefix]
        own = {}
        for name in names:
            if name.startswith(prefix) and name not in theirs:
                own[name] = name.removeprefix(prefix)
        groups.append(PartNames(part, label, prefix, _plain_names(part, label, own)))
    return groups


def plain_parameter(name: str, part: str = "dit") -> str | None:
    """The plain name of one parameter, whatever wrappers, prefix and naming it has.

    None if the part has no such parameter; numbers are not looked at.
    """
    name = strip_wrappers(name)
    for (found, label, prefix), _ in _readings(name):
        if found == part:
            return _plain_names(part, label, {name: name.removeprefix(prefix)})[name]
    return None


def _plain_names(part: str, label: str, own: Mapping[str, str]) -> dict[str, str]:
    """Full name → plain name."""
    if label == PLAIN:
        return dict(own)
    naming = _naming(part, label, own.values())
    return {name: naming.to_plain(short) or short for name, short in own.items()}


def _naming(part: str, label: str, names: Iterable[str]) -> Naming:
    """A part's naming by its label."""
    if part == "vae":
        return diffusers_vae(residuals_of(names))
    for naming in (diffusers_dit(), hf_umt5(), llama_umt5(), _COMFY_DECODER):
        if (naming.part, naming.label) == (part, label):
            return naming
    raise ValueError(f"no naming {label} of {part}")


def _readings(name: str) -> Iterator[tuple[_Layout, str]]:
    """Every layout that knows an ending of a name, and the ending's kind."""
    modules = name.split(".")
    kind_modules = _kind(name).split(".")
    seen = set()
    # The longest ending that a layout knows is what counts.
    for start in range(len(modules)):
        kind = ".".join(kind_modules[start:])
        for part, label in _layouts_with(kind):
            if (part, label) not in seen:
                seen.add((part, label))
                prefix = "".join(f"{module}." for module in modules[:start])
                yield (part, label, prefix), kind


def _kind(name: str) -> str:
    """A name without its numbers: `blocks.3.ffn.0.bias` → `blocks.#.ffn.#.bias`."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "#", name)


def _layouts_with(kind: str) -> list[tuple[str, str]]:
    return _layouts().get(kind, [])


@functools.cache
def _layouts() -> dict[str, list[tuple[str, str]]]:
    """Kind of a name → the layouts that have it."""
    layouts = defaultdict(list)
    for layout, kinds in _known().items():
        for kind in kinds:
            layouts[kind].append(layout)
    return dict(layouts)


@functools.cache
def _known() -> dict[tuple[str, str], set[str]]:
    """(part, label) → the kinds of names that the layout has."""
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for preset in PRESETS.values():
        for part in PARTS:
            plain = part_table(preset, part).shapes()
            known[part, PLAIN] |= {_kind(name) for name in plain}
            for naming in _namings_of(part, plain):
                theirs = {_kind(naming.from_plain(name) or "") for name in plain}
                known[part, naming.label] |= theirs
    sizes = decoder_config("taehv", PRESETS["wan-1.3b"].vae)
    tiny = decoder_table(sizes).shapes()
    known[TINY_DECODER, PLAIN] = {_kind(name) for name in tiny}
    comfy = {_kind(_COMFY_DECODER.from_plain(name) or "") for name in tiny}
    known[TINY_DECODER, _COMFY_DECODER.label] = comfy
    return dict(known)


def _namings_of(part: str, plain: Iterable[str]) -> list[Naming]:
    """A part's other namings."""
    if part == "dit":
        return [diffusers_dit()]
    if part == "vae":
        return [diffusers_vae(residuals_of(plain))]
    return [hf_umt5(), llama_umt5()]
