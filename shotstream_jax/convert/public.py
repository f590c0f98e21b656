"""Public weight files by what they hold: opened, unwrapped, and given the names of spec page 5.

One function opens them all: `.safetensors` (one file, or an index of shards), `.pt`/`.pth` (also the training files,
which wrap the transformer in {"generator": {"model.…"}}), and the `…-Diffusers` transformer with its other names.
"""

import json
import pathlib
import re
from typing import Any

from shotstream_jax.convert.files import read_safetensors
from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.convert.torch_io import read_torch
from shotstream_jax.core.errors import InputError

TRANSFORMERS = (
    "generator",
    "generator_ema",
    "fake_score",
    "critic",
)  # what a training file may wrap
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


def open_file(path: str | pathlib.Path) -> dict[str, Any]:
    """What is in a weight file, unread: {"generator": …, "step": …} for a training file.

    A file's own tensors are under "", beside whatever else it has.
    """
    path = pathlib.Path(path)
    if path.is_dir() or not path.exists():
        raise InputError(f"there is no weight file {path}")
    if path.name.endswith(".index.json"):
        return {"": _open_index(path)}
    if path.suffix == ".safetensors":
        return {"": read_safetensors(path)}
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise InputError(
            f"{path} is no known weight file: .safetensors, .safetensors.index.json, .pt and .pth are"
        )
    content = read_torch(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a dict of weights")
    dicts = [content, *(value for value in content.values() if isinstance(value, dict))]
    if strange := [key for part in dicts for key in part if not isinstance(key, str)]:
        raise InputError(f"{path} has keys that are no names: {strange[:10]}")
    own = {key: value for key, value in content.items() if isinstance(value, Lazy)}
    return (
        {"": own} | {key: value for key, value in content.items() if key not in own}
        if own
        else content
    )


def is_state(value: Any) -> bool:
    """A dict of nothing but arrays."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(hasattr(array, "shape") for array in value.values())
    )


def open_transformer(path: str | pathlib.Path, key: str | None = None) -> State:
    """The transformer of a public file under its plain names; `key` chooses one of a training file's."""
    content = open_file(path)
    present = [name for name in TRANSFORMERS if is_state(content.get(name))]
    if "" in content and not present:
        return plain_names(_only_weights(path, content))
    name = key or (present[0] if present else None)
    if name not in present:
        raise InputError(
            f"{path} holds no transformer {name or ''}: it has {', '.join(map(repr, content))}"
        )
    return plain_names(content[name])


def open_flat(path: str | pathlib.Path) -> State:
    """The state dict of an autoencoder or text encoder file."""
    content = open_file(path)
    if "" not in content:
        raise InputError(f"{path} holds {', '.join(map(repr, content))}, not one state dict")
    return _only_weights(path, content)


def _only_weights(path: str | pathlib.Path, content: dict[str, Any]) -> State:
    if extra := [repr(key) for key in content if key]:
        raise InputError(
            f"{path} has {', '.join(extra[:10])} among its weights: save the state dict alone"
        )
    return content[""]


def open_lora(path: str | pathlib.Path, key: str = "generator_lora") -> State:
    """An adapter under the plain names of the Linears, e.g. `blocks.0.self_attn.q.lora_A.weight`.

    From a training file's `key`, from a .safetensors whose names start with it, or from one that holds nothing else.
    """
    content = open_file(path)
    state = content.get(key)
    if state is None and "" in content:
        own = {name: array for name, array in content[""].items() if "lora_" in name}
        state = {
            n.removeprefix(f"{key}/"): a for n, a in own.items() if n.startswith(f"{key}/")
        } or own
    if not is_state(state):
        raise InputError(
            f"{path} holds no adapter {key}: it has {', '.join(map(repr, list(content)[:10]))}"
        )
    return {name.removeprefix("base_model.model."): array for name, array in state.items()}


def wrapped(state: State, key: str) -> dict[str, State]:
    """A transformer as the training files hold it."""
    return {key: {f"model.{name}": array for name, array in state.items()}}


def plain_names(state: State) -> State:
    """Without the wrapper's `model.`, and with the plain names in place of the …-Diffusers ones."""
    plain = {key.removeprefix("model."): array for key, array in state.items()}
    if any(key.startswith("condition_embedder.") for key in plain):
        plain = {_from_diffusers(key): array for key, array in plain.items()}
    return plain


def _from_diffusers(key: str) -> str:
    for pattern, plain in _DIFFUSERS:
        key = re.sub(pattern, plain, key)
    return key


def _open_index(path: pathlib.Path) -> State:
    try:
        weight_map = json.loads(path.read_text("utf-8"))["weight_map"]
        files = sorted(
            {pathlib.PurePath(file).name for file in weight_map.values()}
        )  # shards lie beside the index
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no readable index of shards ({error})") from None
    state = {
        key: array for file in files for key, array in read_safetensors(path.parent / file).items()
    }
    if lost := sorted(set(weight_map) ^ set(state)):
        raise InputError(f"{path} and its shards disagree on {', '.join(lost[:10])}")
    return state
