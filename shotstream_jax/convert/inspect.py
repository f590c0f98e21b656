"""What is inside a checkpoint: parts, parameters, types, its preset, and what is missing."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.convert import public
from shotstream_jax.convert.checkpoints import find_preset_of
from shotstream_jax.convert.decoders import is_tiny
from shotstream_jax.convert.lora.describe import describe_adapter, is_adapter
from shotstream_jax.convert.names import State
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS
from shotstream_jax.presets import TINY_DECODERS

_SIGNS = {  # a key that only this part has
    "dit": "patch_embedding.weight",
    "vae": "decoder.conv1.weight",
    "text": "token_embedding.weight",
}

Description = tuple[str, str]  # what, and its description


def inspect(path: pathlib.Path) -> list[Description]:
    """What is in a checkpoint folder or a public file. Raises InputError if it is neither."""
    if path.is_dir():
        return _folder_rows(path)
    rows = []
    for key, content in public.open_file(path).items():
        # The file's own tensors have no key: they are named by the file.
        if public.is_state(content):
            rows.append((key or path.name, _describe_state(path, content)))
        elif isinstance(content, dict | list):
            rows.append((key, f"{type(content).__name__} of {len(content)} entries"))
        else:
            rows.append((key, f"{type(content).__name__} {content}"))
    return rows


def _folder_rows(folder: pathlib.Path) -> list[Description]:
    config = read_config(folder)
    rows = [("preset", config["sizes"]["name"]), ("format", str(config["format"]))]
    # All three parts, those that are missing too.
    for part in PARTS:
        if part in config["parts"]:
            rows.append((part, _describe_part(config["parts"][part])))
        else:
            rows.append((part, "missing"))
    # Smaller decoders, which most models do without.
    for kind in TINY_DECODERS:
        if kind in config["parts"]:
            entry = config["parts"][kind]
            rows.append((kind, f"{_describe_part(entry)}, {entry['kind_by']}"))
    rows.append(("tokenizer.json", _describe_tokenizer(folder, config)))
    return rows


def _describe_part(entry: Mapping[str, Any]) -> str:
    types = ", ".join(entry["dtypes"])
    # Parts that were trained here have no source.
    source = entry["source"]
    if source is None:
        return types
    return f"{types}, from {source['file']}, sha256 {source['sha256'][:16]}…"


def _describe_tokenizer(folder: pathlib.Path, config: Mapping[str, Any]) -> str:
    if config["sizes"]["byte_tokens"]:
        return "bytes"
    return "there" if (folder / "tokenizer.json").exists() else "missing"


def _describe_state(path: pathlib.Path, state: State) -> str:
    """One line about a state dict: what it is, its size, its types, the preset that it fits."""
    count = 0
    types = set()
    for array in state.values():
        count += math.prod(array.shape)
        types.add(str(array.dtype))
    facts = f"{len(state)} tensors, {count:,} parameters, {' + '.join(sorted(types))}"

    # An adapter is told by its names, a part by one that only it has.
    if is_adapter(state):
        return f"{describe_adapter(path, state)}, {facts}"
    if is_tiny(state):
        return f"decoder taehv or lighttae, {facts}"
    plain = public.plain_names(state)
    part = _part_of(plain)
    if part is None:
        return f"no known part, {facts}"
    # If no preset fits, the error says which is the nearest.
    try:
        fit = f"preset {find_preset_of({part: plain}).name}"
    except InputError as error:
        fit = str(error)
    return f"{part}, {facts}, {fit}"


def _part_of(state: State) -> str | None:
    """Which part a state dict is, by a key that only this part has."""
    for part, sign in _SIGNS.items():
        if sign in state:
            return part
    return None
