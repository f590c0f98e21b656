"""Public weight files: opened, unwrapped, and given the plain names (docs/method.md, section 5).

`open_file` opens them all: `.safetensors` (one file, or an index of shards), `.gguf`, `.pt`/`.pth`
(also the training files, which wrap the transformer in {"generator": {"model.…"}}), and the
`…-Diffusers` transformer with its other names.
"""

import json
import pathlib
from typing import Any

from shotstream_jax.convert.container import container_of
from shotstream_jax.convert.files import read_safetensors
from shotstream_jax.convert.gguf_io import read_gguf
from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.convert.recognize import find_parts, strip_wrappers
from shotstream_jax.convert.torch_io import read_torch
from shotstream_jax.core.errors import InputError

# What a training file may wrap.
TRANSFORMERS = ("generator", "generator_ema", "fake_score", "critic")
LORAS = ("generator_lora", "critic_lora")


def open_file(path: str | pathlib.Path) -> dict[str, Any]:
    """What is in a weight file, not read yet: {"generator": …, "step": …} for a training file.

    A file's own tensors are under "", beside whatever else it has. Raises InputError if there is no
    such file, or if it is not a known weight file.
    """
    path = pathlib.Path(path)
    if path.name.endswith(".index.json"):
        return {"": _open_index(path)}
    match container_of(path):
        case "safetensors":
            return {"": read_safetensors(path)}
        case "gguf":
            return {"": read_gguf(path).state}
        case "torch":
            return _open_torch(path)


def _open_torch(path: pathlib.Path) -> dict[str, Any]:
    # A state dict, or a dict that has some.
    content = read_torch(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a dict of weights")
    _check_names(path, content)
    # A state dict by itself, and what may stand beside its tensors.
    own = {}
    others = {}
    for name, value in content.items():
        if isinstance(value, Lazy):
            own[name] = value
        else:
            others[name] = value
    if not own:
        return others
    return {"": own, **others}


def _check_names(path: pathlib.Path, content: dict[Any, Any]) -> None:
    """Keys must be strings, also those of the dicts inside."""
    # Those of the optimiser, deeper down, do not matter.
    keys = list(content)
    for value in content.values():
        if isinstance(value, dict):
            keys += value
    unknown = [key for key in keys if not isinstance(key, str)]
    if unknown:
        raise InputError(f"{path} has keys that are not names: {unknown[:10]}")


def is_state(value: Any) -> bool:
    """Whether a value is a dict of arrays, and of nothing else."""
    if not isinstance(value, dict) or not value:
        return False
    return all(hasattr(array, "shape") for array in value.values())


def wrapped(state: State, key: str) -> dict[str, State]:
    """A transformer as the training files hold it."""
    named = {}
    for name, array in state.items():
        named[f"model.{name}"] = array
    return {key: named}


def plain_names(state: State) -> State:
    """A transformer under its plain names, whatever wrappers, prefix and naming it has.

    In the same order; what is no transformer's keeps its name.
    """
    short_names = {name: strip_wrappers(name) for name in state}
    known: dict[str, str] = {}
    for found in find_parts(short_names.values()):
        if found.part == "dit":
            known = found.names
    plain = {}
    for name, short in short_names.items():
        plain[known.get(short, short)] = state[name]
    return plain


def read_index(path: pathlib.Path) -> dict[str, str]:
    """An index of shards: the name of each tensor, and of the file beside the index that has it.

    Raises InputError if it is not one.
    """
    try:
        weight_map = json.loads(path.read_text("utf-8"))["weight_map"]
        # Names only: an index cannot point to another folder.
        return {name: pathlib.PurePath(shard).name for name, shard in weight_map.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a readable index of shards ({error})") from None


def _open_index(path: pathlib.Path) -> State:
    """All shards of an index, which lie beside it."""
    weight_map = read_index(path)
    shards = sorted(set(weight_map.values()))
    state: dict[str, Any] = {}
    for shard in shards:
        state |= open_file(path.parent / shard).get("", {})
    # The index and the shards must have the same names.
    differing = sorted(set(weight_map) ^ set(state))
    if differing:
        raise InputError(f"{path} and its shards disagree on {', '.join(differing[:10])}")
    return state
