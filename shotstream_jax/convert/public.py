"""Public weight files by what they hold: opened, unwrapped, and given the names of spec page 5.

One function opens them all: `.safetensors` (one file, or an index of shards), `.pt`/`.pth` (also the training files,
which wrap the transformer in {"generator": {"model.…"}}), and the `…-Diffusers` transformer with its other names.
"""

import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from shotstream_jax.convert.files import SafetensorsState
from shotstream_jax.convert.rules import Arrays, LazyState
from shotstream_jax.convert.torch_io import StoredTensor, read_torch
from shotstream_jax.core.errors import InputError

TRANSFORMERS = ("generator", "generator_ema", "fake_score", "critic")  # what a training file may wrap
LORAS = ("generator_lora", "critic_lora")

# …-Diffusers name → plain name, applied in order.
_DIFFUSERS = (
    (r"condition_embedder\.text_embedder\.linear_1", "text_embedding.0"),
    (r"condition_embedder\.text_embedder\.linear_2", "text_embedding.2"),
    (r"condition_embedder\.time_embedder\.linear_1", "time_embedding.0"),
    (r"condition_embedder\.time_embedder\.linear_2", "time_embedding.2"),
    (r"condition_embedder\.time_proj", "time_projection.1"),
    (r"proj_out", "head.head"),
    (r"^scale_shift_table$", "head.modulation"),
    (r"\.scale_shift_table$", ".modulation"),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.norm2\.", ".norm3."),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
)


class Renamed(LazyState):
    """A state dict under other names: {name here: name there}."""

    def __init__(self, state: LazyState, names: dict[str, str]):
        self._state, self._names = state, names

    def __getitem__(self, key: str) -> np.ndarray:
        return self._state[self._names[key]]

    def shape(self, key: str) -> tuple[int, ...]:
        return self._state.shape(self._names[key])

    def dtype(self, key: str) -> np.dtype:
        return self._state.dtype(self._names[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Sharded(LazyState):
    """Several files as one."""

    def __init__(self, parts: list[LazyState]):
        self._of = {key: part for part in parts for key in part}

    def __getitem__(self, key: str) -> np.ndarray:
        return self._of[key][key]

    def shape(self, key: str) -> tuple[int, ...]:
        return self._of[key].shape(key)

    def dtype(self, key: str) -> np.dtype:
        return self._of[key].dtype(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


def open_file(path: str | pathlib.Path) -> dict[str, LazyState | Any]:
    """What is in a weight file, unread: {"generator": …, "step": …} for a training file.

    A file's own tensors are under "", beside whatever else it has.
    """
    path = pathlib.Path(path)
    if path.is_dir() or not path.exists():
        raise InputError(f"there is no weight file {path}")
    if path.name.endswith(".index.json"):
        return {"": _open_index(path)}
    if path.suffix == ".safetensors":
        return {"": SafetensorsState(path)}
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise InputError(f"{path} is no known weight file: .safetensors, .safetensors.index.json, .pt and .pth are")
    content = read_torch(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a dict of weights")
    if any(isinstance(value, StoredTensor) for value in content.values()):
        own = {key: value for key, value in content.items() if isinstance(value, StoredTensor)}
        return {"": Arrays(own)} | {key: value for key, value in content.items() if key not in own}
    return {key: Arrays(value) if _is_state_dict(value) else value for key, value in content.items()}


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(v, StoredTensor) for v in value.values())


def open_transformer(path: str | pathlib.Path, key: str | None = None) -> LazyState:
    """The transformer of a public file under its plain names; `key` chooses one of a training file's."""
    content = open_file(path)
    if "" in content:
        return plain_names(_only_weights(path, content))
    present = [name for name in TRANSFORMERS if name in content]
    name = key or (present[0] if present else None)
    if name not in present:
        raise InputError(f"{path} holds no transformer {name or ''}: it has {', '.join(map(repr, content))}")
    return plain_names(content[name])


def open_flat(path: str | pathlib.Path) -> LazyState:
    """The state dict of an autoencoder or text encoder file."""
    content = open_file(path)
    if "" not in content:
        raise InputError(f"{path} holds {', '.join(map(repr, content))}, not one state dict")
    return _only_weights(path, content)


def _only_weights(path: str | pathlib.Path, content: dict[str, Any]) -> LazyState:
    if extra := [repr(key) for key in content if key]:
        raise InputError(f"{path} has {', '.join(extra[:10])} among its weights: save the state dict alone")
    return content[""]


def open_lora(path: str | pathlib.Path, key: str = "generator_lora") -> LazyState:
    """An adapter under the plain names of the Linears, e.g. `blocks.0.self_attn.q.lora_A.weight`.

    From a training file's `key`, from a .safetensors whose names start with it, or from one that holds nothing else.
    """
    content = open_file(path)
    state = content.get(key)
    if state is None and "" in content:
        here = [name for name in content[""] if name.startswith(f"{key}/")]
        names = {name.removeprefix(f"{key}/"): name for name in here or content[""] if "lora_" in name}
        state = Renamed(content[""], names) if names else None
    if not isinstance(state, LazyState):
        raise InputError(f"{path} holds no adapter {key}: it has {', '.join(map(repr, list(content)[:10]))}")
    return Renamed(state, {name.removeprefix("base_model.model."): name for name in state})


def wrapped(state: LazyState, key: str) -> dict[str, LazyState]:
    """A transformer as the training files hold it."""
    return {key: Renamed(state, {f"model.{name}": name for name in state})}


def plain_names(state: LazyState) -> LazyState:
    """Without the wrapper's `model.`, and with the plain names in place of the …-Diffusers ones."""
    names = {key.removeprefix("model."): key for key in state}
    if any(key.startswith("condition_embedder.") for key in names):
        names = {_from_diffusers(key): there for key, there in names.items()}
    return Renamed(state, names)


def _from_diffusers(key: str) -> str:
    for pattern, plain in _DIFFUSERS:
        key = re.sub(pattern, plain, key)
    return key


def _open_index(path: pathlib.Path) -> LazyState:
    try:
        weight_map = json.loads(path.read_text("utf-8"))["weight_map"]
        files = sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no readable index of shards ({error})") from None
    state = Sharded([SafetensorsState(path.parent / file) for file in files])
    if lost := sorted(set(weight_map) ^ set(state)):
        raise InputError(f"{path} and its shards disagree on {', '.join(lost[:10])}")
    return state
