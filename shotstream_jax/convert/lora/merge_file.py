"""Adapters merged into a public file, whose names, types and other entries stay as they are."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from absl import logging

from shotstream_jax.convert import public
from shotstream_jax.convert.dequantize import dequantize
from shotstream_jax.convert.files import read_metadata
from shotstream_jax.convert.lora.describe import is_adapter
from shotstream_jax.convert.lora.merge import rename_back
from shotstream_jax.convert.lora.options import LoraOptions, merge_into
from shotstream_jax.convert.names import State
from shotstream_jax.convert.recognize import plain_parameter
from shotstream_jax.core.errors import InputError

_Keys = tuple[str, ...]  # of the dictionaries around a state dict


def merge_file(path: pathlib.Path, lora: LoraOptions, key: str | None = None) -> dict[str, Any]:
    """What a public file holds (`public.open_file`), with adapters in its transformer.

    key: which transformer of a training file (default: the first of public.TRANSFORMERS that is
    there). Weights in 8 bits become what they stand for, in floats. Raises InputError if there is
    no transformer, or if an adapter does not fit it.
    """
    content = public.open_file(path)
    states = {}
    for keys, state in _state_dicts(content):
        if not is_adapter(state):
            states[keys] = state
    keys = _choose(path, states, key)
    metadata = {}
    if path.suffix == ".safetensors":
        metadata = read_metadata(path)
    own = dequantize(states[keys], metadata)
    for note in own.notes:
        logging.info("%s: %s", path, note)
    return _replaced(content, keys, _merged(path, own.state, lora))


def _state_dicts(content: Mapping[str, Any], keys: _Keys = ()) -> Iterator[tuple[_Keys, State]]:
    """All dicts of arrays, in dicts within each other too."""
    for name, value in content.items():
        if public.is_state(value):
            yield (*keys, name), value
        # Moments of an optimiser have the weights' names: they are none.
        elif isinstance(value, dict) and "optim" not in str(name):
            yield from _state_dicts(value, (*keys, name))


def _choose(path: pathlib.Path, states: Mapping[_Keys, State], key: str | None) -> _Keys:
    """Where the transformer is: by its key, or by the order of a training file's; or the only."""
    for name in [key] if key else public.TRANSFORMERS:
        for keys in states:
            if name in keys:
                _say_choice(path, keys, states)
                return keys
    # A file without such keys holds one transformer by itself, whatever the caller calls it.
    is_named = any(set(public.TRANSFORMERS) & set(keys) for keys in states)
    if len(states) == 1 and not is_named:
        return next(iter(states))
    held = ", ".join(repr("/".join(keys)) for keys in states) or "nothing"
    raise InputError(f"{path} holds no {key or 'transformer'}, or several: it has {held}")


def _say_choice(path: pathlib.Path, chosen: _Keys, states: Mapping[_Keys, State]) -> None:
    """Says which of several transformers is taken."""
    others = ["/".join(keys) for keys in states if keys != chosen]
    if others:
        logging.warning(
            "%s: merged into %s; --key takes another one of %s",
            path,
            "/".join(chosen),
            ", ".join(others),
        )


def _replaced(content: Mapping[str, Any], keys: _Keys, state: State) -> dict[str, Any]:
    """A file's content with another state dict under these keys."""
    first, *rest = keys
    if not rest:
        return {**content, first: state}
    return {**content, first: _replaced(content[first], tuple(rest), state)}


def _merged(path: pathlib.Path, own: State, lora: LoraOptions) -> State:
    """A transformer with adapters added, under its file's own names."""
    plain: dict[str, Any] = {}
    for name, array in own.items():
        # A name of nothing that a transformer has stays, and so does its tensor.
        known = plain_parameter(name) or name
        if known in plain:
            raise InputError(f"{path} holds {known} twice, under other prefixes: save one alone")
        plain[known] = array
    return rename_back(merge_into(plain, lora), plain, own)
