"""An adapter's file or folder, opened: its tensors by the file's own names, and what it says."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from shotstream_jax.convert import public
from shotstream_jax.convert.files import read_metadata
from shotstream_jax.convert.lora.keys import is_adapter_key
from shotstream_jax.convert.lora.scales import ScaleRules, find_rules
from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.core.errors import InputError

# What a folder may have, in the order in which they are looked for: PEFT's and diffusers' names.
_FOLDER_FILES = (
    "adapter_model.safetensors",
    "adapter_model.bin",
    "pytorch_lora_weights.safetensors",
    "pytorch_lora_weights.bin",
)


@dataclasses.dataclass(frozen=True)
class AdapterFile:
    """An adapter as its file has it, not read yet.

    rules: what is said about its scale beside the tensors.
    """

    path: pathlib.Path
    state: State
    rules: ScaleRules


def open_adapter(path: str | pathlib.Path, key: str | None = None) -> AdapterFile:
    """Opens an adapter's file, or a folder as PEFT and diffusers write it.

    key: its name in a training file; without it, the one that the file has, or generator_lora.
    Raises InputError if there is no such file, or if it holds no adapter.
    """
    path = _file_of(pathlib.Path(path))
    content = public.open_file(path)
    state = _adapter_state(path, content, key)
    return AdapterFile(path, state, find_rules(path, header_texts(path, content), state))


def header_texts(path: pathlib.Path, content: Mapping[str, Any]) -> dict[str, str]:
    """What a file says in words: a header's texts, or what a .pt file has beside its tensors.

    content: what is in the file (`public.open_file`).
    """
    if path.suffix == ".safetensors":
        return read_metadata(path)
    texts = {}
    for name, value in content.items():
        if isinstance(value, str | int | float):
            texts[name] = str(value)
        elif isinstance(value, dict) and not _has_tensors(value):
            # Settings in a dict are what a header has as JSON.
            texts[name] = json.dumps(value, default=str)
    return texts


def _has_tensors(value: Mapping[str, Any]) -> bool:
    return any(isinstance(item, Lazy | dict | list) for item in value.values())


def _file_of(path: pathlib.Path) -> pathlib.Path:
    """The weight file of a folder; a file is itself."""
    if not path.is_dir():
        return path
    for name in _FOLDER_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} holds no adapter: expected {' or '.join(_FOLDER_FILES)}")


def _adapter_state(path: pathlib.Path, content: Mapping[str, Any], key: str | None) -> State:
    """The adapter's tensors among what a file holds."""
    # By the name that a training file has for it, in a dict of its own or in front of its names.
    candidates = {}
    for name, value in content.items():
        if name and isinstance(value, dict):
            candidates[name] = value
    own = _own_tensors(content)
    for name in public.LORAS:
        inside = {n.removeprefix(f"{name}/"): a for n, a in own.items() if n.startswith(f"{name}/")}
        if inside:
            candidates[name] = inside
    if key in candidates:
        return _tensors(path, candidates[key])
    if key is not None and candidates:
        raise InputError(f"{path} holds no adapter {key}: it has {_listed(candidates)}")

    # By itself; or the first of its names, or the only one, in a training file.
    if _holds_adapter(own) and not set(public.LORAS) & set(candidates):
        return _tensors(path, own)
    adapters = [name for name, state in candidates.items() if _holds_adapter(state)]
    for name in (*public.LORAS, *adapters[:1]):
        if name in adapters:
            return _tensors(path, candidates[name])
    raise InputError(f"{path} holds no adapter: it has {_listed([*candidates, *own])}")


def _own_tensors(content: Mapping[str, Any]) -> dict[str, Any]:
    """The file's own tensors, and numbers that stand for tensors of one value."""
    own = dict(content.get("", {}))
    for name, value in content.items():
        if isinstance(value, int | float) and is_adapter_key(name):
            own[name] = value
    return own


def _holds_adapter(state: Mapping[str, Any]) -> bool:
    return any(is_adapter_key(name) for name in state)


def _tensors(path: pathlib.Path, state: Mapping[str, Any]) -> State:
    """A state dict whose plain numbers, which some programs save as alphas, are arrays."""
    tensors: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, int | float):
            tensors[name] = _scalar(float(value))
        elif isinstance(value, Lazy | np.ndarray):
            tensors[name] = value
        else:
            raise InputError(f"{path} has {name!r}, which is no tensor, in its adapter")
    return tensors


def _scalar(value: float) -> Lazy:
    array = np.array(value, np.float32)
    return Lazy((), array.dtype, lambda: array)


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in list(names)[:10]) or "nothing"


def read_alpha(path: pathlib.Path, name: str, tensor: Lazy) -> float:
    """The number in an `alpha` tensor. Raises InputError if it is not one finite number."""
    if math.prod(tensor.shape) != 1:
        raise InputError(f"{path} has {name} {list(tensor.shape)}, expected one number")
    alpha = float(np.asarray(tensor, np.float32).reshape(()))
    if not math.isfinite(alpha):
        raise InputError(f"{path} has {name} {alpha}, which is no number")
    return alpha
