"""Sizes that public files keep of a model of ours, and the preset that an import takes from them.

Names and shapes tell most of a preset, but not the shot phase, the latents' statistics of an
autoencoder of one's own, or the memory. So what is exported has all sizes, as JSON under one name:
among the texts of a .safetensors header, or in a member of a .pt file beside its tensors. Other
programs do not look there. A Diffusers folder without it says the latents' statistics in
`vae/config.json`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging

from shotstream_jax.convert.files import read_metadata
from shotstream_jax.convert.names import State
from shotstream_jax.convert.public import read_index
from shotstream_jax.convert.torch_io import read_torch_text
from shotstream_jax.core.errors import InputError
from shotstream_jax.presets import Preset, preset_from_dict

SIZES = "shotstream_sizes"
_VAE_CLASS = "AutoencoderKLWan"  # of a Diffusers config.json


def sizes_texts(preset: Preset) -> dict[str, str]:
    """What an exported file keeps: the usual word of the format, and all sizes."""
    return {"format": "pt", SIZES: json.dumps(dataclasses.asdict(preset))}


def read_sizes(path: pathlib.Path) -> Preset | None:
    """The sizes that a public file keeps; None if it is not from here. Raises InputError."""
    if path.name.endswith(".index.json"):
        # Every shard has them.
        shards = sorted(set(read_index(path).values()))
        return read_sizes(path.parent / shards[0]) if shards else None
    if path.suffix == ".safetensors":
        text = read_metadata(path).get(SIZES)
    elif path.suffix in (".pt", ".pth", ".bin"):
        text = read_torch_text(path, SIZES)
    else:
        return None
    if text is None:
        return None
    try:
        return preset_from_dict(json.loads(text))
    except ValueError as error:  # InputError is one, and JSON's too
        raise InputError(f"{path}: the sizes that it keeps are unreadable ({error})") from None


def kept_texts(path: pathlib.Path) -> dict[str, str]:
    """What a file that is made of this public file keeps. Raises InputError."""
    kept = read_sizes(path)
    return {"format": "pt"} if kept is None else sizes_texts(kept)


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
