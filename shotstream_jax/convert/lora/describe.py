"""An adapter's file in one line, for `convert inspect`."""

import pathlib

from shotstream_jax.convert import public
from shotstream_jax.convert.lora.file import header_texts, read_alpha
from shotstream_jax.convert.lora.keys import is_adapter_key, parse_key
from shotstream_jax.convert.lora.scales import find_rules
from shotstream_jax.convert.names import State
from shotstream_jax.core.errors import InputError

_MOST_NUMBERS = 6


def is_adapter(state: State) -> bool:
    """Whether a state dict is an adapter's, by its names."""
    return any(is_adapter_key(name) for name in state)


def describe_adapter(path: pathlib.Path, state: State) -> str:
    """Ranks, alphas and where they are said; or why the adapter is not read.

    path: the file that the state dict is of.
    """
    try:
        ranks = _ranks(state)
        alphas = _alphas(path, state)
    except InputError as error:
        return f"adapter that is not read: {error}"
    described = "adapter without factors"
    if ranks:
        described = f"adapter of rank {_listed(ranks)}"
    return f"{described}, {alphas}"


def _ranks(state: State) -> list[float]:
    ranks = set()
    for name, array in state.items():
        if parse_key(name).role == "down":
            ranks.add(float(array.shape[0] if array.shape else 0))
    return sorted(ranks)


def _alphas(path: pathlib.Path, state: State) -> str:
    """In the order in which merging takes them."""
    found = set()
    for name, array in state.items():
        if parse_key(name).role == "alpha":
            found.add(read_alpha(path, name, array))
    if found:
        return f"alpha {_listed(sorted(found))} by its tensors"

    texts = header_texts(path, public.open_file(path))
    rules = find_rules(path, texts, state)
    if rules.alpha is None:
        return "no alpha"
    alphas = sorted({rules.alpha, *rules.alpha_pattern.values()})
    root = " over the rank's root" if rules.rslora else ""
    return f"alpha {_listed(alphas)}{root} by {rules.source}"


def _listed(numbers: list[float]) -> str:
    text = ", ".join(f"{number:g}" for number in numbers[:_MOST_NUMBERS])
    return text + ", …" if len(numbers) > _MOST_NUMBERS else text
