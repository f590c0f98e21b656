"""What is inside a checkpoint: parts, parameters, types, the preset that it matches, and what is missing."""

import math
import pathlib
from typing import Any

from shotstream_jax.checkpoint.folder import read_config
from shotstream_jax.convert import public
from shotstream_jax.convert.checkpoints import find_preset_of
from shotstream_jax.convert.lora import lora_rank
from shotstream_jax.convert.names import State
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS

_SIGNS = (  # a key that only this part has
    ("dit", "patch_embedding.weight"),
    ("vae", "decoder.conv1.weight"),
    ("text", "token_embedding.weight"),
)


def inspect(path: pathlib.Path) -> list[tuple[str, str]]:
    """(what, description) rows for a native folder or a public file."""
    if path.is_dir():
        return _native(path)
    rows = []
    for key, content in public.open_file(path).items():
        if public.is_state(content):
            rows.append((key or path.name, _state(content)))
        else:
            count = (
                f" of {len(content)} entries" if isinstance(content, dict | list) else f" {content}"
            )
            rows.append((key, type(content).__name__ + count))
    return rows


def _native(folder: pathlib.Path) -> list[tuple[str, str]]:
    config = read_config(folder)
    rows = [("preset", config["sizes"]["name"]), ("format", str(config["format"]))]
    for part in PARTS:
        entry: dict[str, Any] | None = config["parts"].get(part)
        if entry is None:
            rows.append((part, "missing"))
            continue
        source = (
            f", from {entry['source']['file']}, sha256 {entry['source']['sha256'][:16]}…"
            if entry["source"]
            else ""
        )
        rows.append((part, f"{', '.join(entry['dtypes'])}{source}"))
    missing = not (folder / "tokenizer.json").exists() and not config["sizes"]["byte_tokens"]
    rows.append(
        (
            "tokenizer.json",
            "missing" if missing else "bytes" if config["sizes"]["byte_tokens"] else "there",
        )
    )
    return rows


def _state(state: State) -> str:
    """One line about a state dict."""
    count = sum(math.prod(array.shape) for array in state.values())
    kinds = sorted({str(array.dtype) for array in state.values()})
    facts = [f"{len(state)} tensors", f"{count:,} parameters", " + ".join(kinds)]
    if rank := lora_rank(state):
        return ", ".join([f"adapter of rank {rank}", *facts])
    plain = public.plain_names(state)
    part = next((part for part, sign in _SIGNS if sign in plain), None)
    if part is None:
        return ", ".join(["no known part", *facts])
    try:
        return ", ".join([part, *facts, f"preset {find_preset_of({part: plain}).name}"])
    except InputError as error:
        return ", ".join([part, *facts, str(error)])
