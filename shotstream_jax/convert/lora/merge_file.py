"""Adapters merged into a public file, whose names, types and other entries stay as they are."""

import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from shotstream_jax.convert import public
from shotstream_jax.convert.dequantize import dequantize
from shotstream_jax.convert.files import read_metadata
from shotstream_jax.convert.lora.merge import rename_back
from shotstream_jax.convert.lora.options import LoraOptions, merge_into
from shotstream_jax.convert.names import State
from shotstream_jax.core.errors import InputError

# Names of a transformer that is not one of several: what other programs wrap a state dict in.
_WRAPPERS = ("state_dict", "model", "module")


def merge_file(path: pathlib.Path, lora: LoraOptions, key: str | None = None) -> dict[str, Any]:
    """What a public file holds (`public.open_file`), with adapters in its transformer.

    key: which transformer of a training file (default: the first that is there). Weights in 8 bits
    become what they stand for, in floats. Raises InputError if there is no transformer, or if an
    adapter does not fit it.
    """
    content = public.open_file(path)
    name = _transformer_in(path, content, key)
    metadata = {}
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
    own = dequantize(content[name], metadata)
    for note in own.notes:
        logging.info("%s: %s", path, note)
    return content | {name: _merged(own.state, lora)}


def _transformer_in(path: pathlib.Path, content: Mapping[str, Any], key: str | None) -> str:
    """The entry of a file that is the transformer; "" for the file itself."""
    wanted = [key] if key else [*public.TRANSFORMERS, *_WRAPPERS]
    present = [name for name in wanted if public.is_state(content.get(name))]
    if present:
        return present[0]
    if "" in content:
        return ""
    held = ", ".join(repr(name) for name in content)
    raise InputError(f"{path} holds no {key or 'transformer'}: it has {held}")


def _merged(own: State, lora: LoraOptions) -> State:
    """A transformer with adapters added, under its file's own names."""
    plain = public.plain_names(own)
    return rename_back(merge_into(plain, lora), plain, own)
