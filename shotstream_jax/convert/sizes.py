"""What public files keep of a model of ours, and the preset that an import takes from them.

Names and shapes tell most of a preset, but not the shot phase, the latents' statistics of an
autoencoder of one's own, or the memory; and nothing in a public file says what a part was trained
for. So what is exported has all sizes, and the part's facts of config.json, as JSON under two
names: among the texts of a .safetensors header, or in members of a .pt file beside its tensors.
Other programs do not look there. A Diffusers folder without them says the latents' statistics in
`vae/config.json`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from shotstream_jax.checkpoint.folder import other_facts
from shotstream_jax.convert.files import read_metadata
from shotstream_jax.convert.lora.options import LoraOptions, facts_after_merge
from shotstream_jax.convert.names import State
from shotstream_jax.convert.public import read_index
from shotstream_jax.convert.torch_io import read_torch_text
from shotstream_jax.core.errors import InputError
from shotstream_jax.presets import Preset, preset_from_dict

SIZES = "shotstream_sizes"
FACTS = "shotstream_facts"
_VAE_CLASS = "AutoencoderKLWan"  # of a Diffusers config.json


def kept_texts(preset: Preset, facts: Mapping[str, Any]) -> dict[str, str]:
    """What an exported part keeps: the usual word of the format, all sizes, and its facts."""
    texts = {"format": "pt", SIZES: json.dumps(dataclasses.asdict(preset))}
    if facts:
        texts[FACTS] = json.dumps(facts)
    return texts


def texts_after_merge(path: pathlib.Path, lora: LoraOptions) -> dict[str, str]:
    """What a file keeps that is made of this one and of adapters. Raises InputError."""
    kept = read_sizes(path)
    if kept is None:
        return {"format": "pt"}
    return kept_texts(kept, facts_after_merge(read_facts(path), lora))


def read_sizes(path: pathlib.Path) -> Preset | None:
    """The sizes that a public file keeps; None if it is not from here. Raises InputError."""
    text = _kept_text(path, SIZES)
    if text is None:
        return None
    try:
        return preset_from_dict(json.loads(text))
    except ValueError as error:  # InputError is one, and JSON's too
        raise InputError(f"{path}: the sizes that it keeps are unreadable ({error})") from None


def read_facts(path: pathlib.Path) -> dict[str, Any]:
    """The facts of a part that a public file keeps, {} if it has none. Raises InputError."""
    text = _kept_text(path, FACTS)
    if text is None:
        return {}
    try:
        facts = json.loads(text)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise InputError(f"{path}: the facts that it keeps are unreadable")
    return other_facts(facts)


def _kept_text(path: pathlib.Path, name: str) -> str | None:
    """One of the texts that a public file keeps."""
    if path.name.endswith(".index.json"):
        # Every shard has them.
        shards = sorted(set(read_index(path).values()))
        return _kept_text(path.parent / shards[0], name) if shards else None
    if path.suffix == ".safetensors":
        return read_metadata(path).get(name)
    if path.suffix in (".pt", ".pth", ".bin"):
        return read_torch_text(path, name)
    return None


def choose_preset(
    sources: Mapping[str, pathlib.Path],
    states: Mapping[str, State],
    named: Preset | None,
    find: Callable[[Mapping[str, State]], Preset],
) -> Preset:
    """The sizes of a model from public files: those that the files keep, else a preset's.

    sources, states: each part's file and state dict. named: the preset that it must be. find: the
    preset of files that keep none. Raises InputError if the files are of different models.
    """
    told: dict[str, Preset] = {}
    for part, path in sources.items():
        kept = read_sizes(path)
        if kept is not None:
            told[part] = kept
    for part, kept in told.items():
        if named and kept.name != named.name:
            raise InputError(f"{sources[part]} is of the preset {kept.name}, not {named.name}")
    # Parts whose files say nothing must fit a preset, all of them the same one.
    untold = {part: state for part, state in states.items() if part not in told}
    usual = named
    if usual is None and untold:
        usual = find(untold)
    # Memory, steps and format are those of the first file that says them.
    chosen = next(iter(told.values()), usual)
    if chosen is None:
        raise ValueError("no part is there")
    fields: dict[str, Any] = {}
    for part in states:
        of_part = told.get(part, usual)
        assert of_part is not None  # a part is told or untold
        fields[part] = dataclasses.asdict(of_part)[part]
    preset = preset_from_dict(dataclasses.asdict(chosen) | fields)
    if "vae" in sources and "vae" not in told:
        preset = _with_latents(preset, sources["vae"])
    _check_fit(preset)
    if usual is None or preset != usual:
        logging.info("sizes of %s, as the files say", preset.name)
    return preset


def _check_fit(preset: Preset) -> None:
    """Raises InputError if the parts' sizes do not go together."""
    if preset.dit.text_dim != preset.text.dim or preset.dit.channels != preset.vae.channels:
        raise InputError(
            f"the files are of different models: the transformer reads texts {preset.dit.text_dim} "
            f"wide and {preset.dit.channels} latent channels, the others have {preset.text.dim} "
            f"and {preset.vae.channels}"
        )


def _with_latents(preset: Preset, path: pathlib.Path) -> Preset:
    """With the latents' statistics of the config.json beside a Diffusers autoencoder, if any."""
    try:
        config = json.loads((path.parent / "config.json").read_text("utf-8"))
        if config["_class_name"] != _VAE_CLASS:
            return preset
        mean = tuple(float(value) for value in config["latents_mean"])
        std = tuple(float(value) for value in config["latents_std"])
    except (OSError, ValueError, KeyError, TypeError):
        return preset
    if len(mean) != preset.vae.channels:
        raise InputError(
            f"{path.parent / 'config.json'} has latents of {len(mean)} channels, the weights "
            f"{preset.vae.channels}"
        )
    vae = dataclasses.replace(preset.vae, mean=mean, std=std)
    return dataclasses.replace(preset, vae=vae)
