"""What is inside a checkpoint or a public file: parts, layout, types, preset, and what is unused.

Public files are read as an import reads them (convert/reader), and the preset is chosen by the same
functions: what is said here of a part is what an import of it does.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from shotstream_jax.checkpoint.checkpoint import SHIPPED, WEIGHTS
from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.convert.fit import find_preset_of
from shotstream_jax.convert.lora.describe import describe_adapter
from shotstream_jax.convert.lora.options import ADAPTERS
from shotstream_jax.convert.names import State, check_keys
from shotstream_jax.convert.reader import (
    FoundPart,
    WeightFile,
    check_part,
    first_names,
    read_weights,
)
from shotstream_jax.convert.recognize import TINY_DECODER
from shotstream_jax.convert.sizes import choose_preset
from shotstream_jax.convert.sources import folder_files
from shotstream_jax.convert.tables import part_table
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS
from shotstream_jax.presets import TINY_DECODERS
from shotstream_jax.text.sentencepiece import convert_sentencepiece

Description = tuple[str, str]  # what, and its description


def inspect(path: pathlib.Path) -> list[Description]:
    """What is in a checkpoint, a public file, or a folder of them.

    Raises InputError if it is none of these.
    """
    # A folder goes before a shipped model of the same name, as it does when it is loaded.
    if str(path) in SHIPPED and not path.exists():
        return _folder_rows(WEIGHTS / str(path))
    if not path.is_dir():
        return _file_rows(path)
    files = list(folder_files(path))
    if _is_checkpoint(path) or not files:
        return _folder_rows(path)
    rows = []
    for file in files:
        rows.append((str(file.relative_to(path)), ""))
        try:
            rows += _file_rows(file)
        except InputError as error:
            rows.append((file.name, f"not read: {error}"))
    return rows


def _is_checkpoint(folder: pathlib.Path) -> bool:
    """Whether a folder with weight files is a checkpoint of ours."""
    try:
        read_config(folder)
    except InputError:
        return False
    return True


def _file_rows(path: pathlib.Path) -> list[Description]:
    """A row for every part and adapter in a public file, then what belongs to none."""
    file = read_weights(path)
    rows = []
    for found in file.parts:
        rows.append((found.where or path.name, _describe_found(file, found)))
    for where, state in file.adapters.items():
        described = f"{describe_adapter(path, state)}, {_facts(state)}"
        rows.append((where or path.name, described))
    if file.tokenizer is not None:
        rows.append(("spiece_model", _describe_sentencepiece(file)))
    for where, state in file.unknown.items():
        described = f"no known part, {_facts(state)}: {first_names(list(state), 3)}"
        rows.append((where or path.name, described))
    if file.unused:
        rows.append(("not used", first_names(file.unused)))
    return rows


def _describe_sentencepiece(file: WeightFile) -> str:
    """The tokeniser among the weights."""
    try:
        convert_sentencepiece(np.asarray(file.tokenizer).tobytes(), "it")
    except InputError as error:
        return f"not used: {error}"
    return "a SentencePiece tokeniser, used unless another is given"


def _describe_found(file: WeightFile, found: FoundPart) -> str:
    """One line about a part: what it is, its size, its layout, the preset that it fits."""
    facts = [found.part, _facts(found.state, found.types), f"{found.label} names"]
    if found.part == TINY_DECODER:
        facts[0] = "decoder taehv or lighttae"
    if found.prefix:
        facts.append(f"prefix {found.prefix}")
    if found.wrappers:
        facts.append(f"wrapped in {', '.join(found.wrappers)}")
    facts += found.notes
    facts.append(_fit(file, found))
    return ", ".join(fact for fact in facts if fact)


def _facts(state: State, types: list[str] | None = None) -> str:
    """Tensors, numbers and types of a state dict."""
    count = 0
    found = set()
    for array in state.values():
        count += math.prod(array.shape)
        found.add(str(array.dtype))
    return f"{len(state)} tensors, {count:,} parameters, {' + '.join(types or sorted(found))}"


def _fit(file: WeightFile, found: FoundPart) -> str:
    """The preset of which an import makes a part; or why it refuses it."""
    try:
        check_part(file, found)
        if found.part == TINY_DECODER:
            return ""
        states = {found.part: found.state}
        preset = choose_preset({found.part: file.path}, states, None, find_preset_of)
        check_keys(part_table(preset, found.part), found.state)
    except InputError as error:
        return f"not read: {error}"
    return f"preset {preset.name}"


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
    if entry.get(ADAPTERS):
        types += f", with {', '.join(entry[ADAPTERS])} merged"
    # Parts that were trained here have no source.
    source = entry["source"]
    if source is None:
        return types
    return f"{types}, from {source['file']}, sha256 {source['sha256'][:16]}…"


def _describe_tokenizer(folder: pathlib.Path, config: Mapping[str, Any]) -> str:
    if config["sizes"]["byte_tokens"]:
        return "bytes"
    return "there" if (folder / "tokenizer.json").exists() else "missing"
