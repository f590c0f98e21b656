"""A public weight file → its parts under their plain names, and all that is not used.

In this order: the container (`public.open_file`), dictionaries around the weights ({"state_dict":
{"generator": …}}), wrappers within names, weights in 8 bits (convert/dequantize), prefixes and
other programs' names (convert/recognize). An import and `convert inspect` both read files so, and
whether a part fits the package is asked in one place for both (`check_part`).
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from shotstream_jax.convert import public
from shotstream_jax.convert.container import container_of
from shotstream_jax.convert.dequantize import dequantize
from shotstream_jax.convert.files import read_metadata
from shotstream_jax.convert.lora.describe import is_adapter
from shotstream_jax.convert.names import State
from shotstream_jax.convert.naming import TIED_EMBEDDINGS, hf_umt5
from shotstream_jax.convert.recognize import (
    TINY_DECODER,
    PartNames,
    find_parts,
    unwrapped,
    wrappers_in,
)
from shotstream_jax.convert.strangers import explain_stranger
from shotstream_jax.core.errors import InputError

TITLES = {
    "dit": "transformer",
    "vae": "autoencoder",
    "text": "text encoder",
    TINY_DECODER: "tiny autoencoder",
}
_OPTIONS = {
    "dit": "--shotstream",
    "vae": "--vae",
    "text": "--text-encoder",
    TINY_DECODER: "--decoder",
}
_TOKENIZER = "spiece_model"  # a SentencePiece model among a text encoder's weights
# Of a whole UMT5, what makes text of embeddings.
_OTHER_HALF = ("decoder.", "lm_head.")
_DEEPEST = 4  # dictionaries within each other that are looked into


@dataclasses.dataclass(frozen=True)
class FoundPart:
    """A part of a model in a file, not read yet.

    part: "dit", "vae", "text" or "decoder" (a tiny autoencoder). where: the dictionaries around it,
    as "state_dict/generator"; "" for the file itself. label: the naming; prefix and wrappers: what
    else its names had. types: of its tensors in the file. notes: how weights in 8 bits are read.
    problem: why its weights cannot be read, if they cannot.
    """

    part: str
    where: str
    label: str
    prefix: str
    wrappers: list[str]
    types: list[str]
    state: State
    notes: list[str]
    problem: str | None = None

    @property
    def keys(self) -> list[str]:
        """What `--key` may call it."""
        return [*self.where.split("/"), *self.prefix.replace("/", ".").split(".")]

    @property
    def place(self) -> str:
        """Where it is in its file, for messages."""
        return self.where or self.prefix or "the file itself"


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """All that is in a public file.

    adapters, unknown: other state dicts, by the dictionaries around them. unused: names of what
    else belongs to no part. tokenizer: the bytes of a SentencePiece model [bytes], not read yet.
    """

    path: pathlib.Path
    parts: list[FoundPart]
    adapters: dict[str, State]
    unknown: dict[str, State]
    unused: list[str]
    tokenizer: Any = None


def read_weights(path: str | pathlib.Path) -> WeightFile:
    """Opens a file and finds what is in it; weights are not read.

    Raises InputError if it is no weight file.
    """
    path = pathlib.Path(path)
    content = public.open_file(path)
    metadata = _metadata(path)
    file = WeightFile(path, [], {}, {}, [])
    tokenizer = None
    states = dict(_walk(content, file.unused))
    for where, state in states.items():
        plain = dict(unwrapped(state))
        # The tokeniser is no weight.
        for name in list(plain):
            if name.rpartition(".")[2] == _TOKENIZER:
                tokenizer = plain.pop(name)
        parts = _find(where, state, plain, metadata, file.unused)
        file.parts.extend(parts)
        if not parts and is_adapter(plain):
            file.adapters[where] = state
        elif not parts:
            file.unknown[where] = state
    return dataclasses.replace(file, tokenizer=tokenizer)


def _metadata(path: pathlib.Path) -> dict[str, str]:
    """The texts of a file's header, or of those of all shards."""
    if path.name.endswith(".index.json"):
        texts: dict[str, str] = {}
        for shard in sorted(set(public.read_index(path).values())):
            texts |= _metadata(path.parent / shard)
        return texts
    return read_metadata(path) if container_of(path) == "safetensors" else {}


def _walk(
    content: Mapping[str, Any], unused: list[str], where: tuple[str, ...] = ()
) -> Iterator[tuple[str, State]]:
    """The tensors of each dictionary, by the keys that lead to it; all else is noted as unused."""
    arrays = {}
    for key, value in content.items():
        # Moments of an optimiser have the weights' names: they are none.
        is_inner = isinstance(value, dict) and "optim" not in str(key)
        if hasattr(value, "shape"):
            arrays[key] = value
        elif is_inner and value and len(where) < _DEEPEST and all(type(k) is str for k in value):
            inner = (*where, key) if key else where
            yield from _walk(value, unused, inner)
        else:
            unused.append("/".join((*where, str(key))))
    if arrays:
        yield "/".join(where), arrays


def _find(
    where: str,
    original: State,
    state: State,
    metadata: Mapping[str, str],
    unused: list[str],
) -> list[FoundPart]:
    """The parts of one state dict. original: the same under its own names."""
    # Of weights that cannot be read the parts are still named.
    notes: list[str] = []
    problem = None
    try:
        readable, notes = dequantize(state, metadata)
    except InputError as error:
        readable = state
        problem = str(error)
    found = []
    used: set[str] = set()
    for names in find_parts(readable):
        used |= set(names.names)
        try:
            plain = _plain_state(names, readable, unused)
        except InputError as error:
            plain = {}
            problem = str(error)
        raw = {name: array for name, array in state.items() if name.startswith(names.prefix)}
        found.append(
            FoundPart(
                part=names.part,
                where=where,
                label=names.label,
                prefix=names.prefix,
                wrappers=wrappers_in(original),
                types=sorted({str(array.dtype) for array in raw.values()}),
                state=plain,
                notes=notes,
                problem=problem,
            )
        )
    if found:
        unused += [name for name in readable if name not in used]
    return found


def _plain_state(names: PartNames, state: State, unused: list[str]) -> State:
    """A part under its plain names."""
    plain: dict[str, Any] = {}
    for name, new in names.names.items():
        if names.label == hf_umt5().label and new.startswith(_OTHER_HALF):
            unused.append(name)
            continue
        if new in plain:
            _check_tied(names.prefix, name, plain[new], state[name])
        plain[new] = state[name]
    return plain


def _check_tied(prefix: str, name: str, first: Any, second: Any) -> None:
    """Two names of one parameter must have the same values: those of the table of tokens may."""
    is_tied = name.removeprefix(prefix) in TIED_EMBEDDINGS
    if not is_tied or first.shape != second.shape or _digest(first) != _digest(second):
        raise InputError(f"{name} is there twice under different names, with different values")


def _digest(array: Any) -> bytes:
    """Of an array's values, so that two large ones need not be in memory at once."""
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).digest()


def open_part_of_file(path: str | pathlib.Path, part: str, key: str | None = None) -> State:
    """A part of a public file under its plain names; says what of the file is not used.

    key: which one, where a file has several (default: the first of public.TRANSFORMERS). Raises
    InputError if the file does not have it, or if this package has no use for it.
    """
    file = read_weights(path)
    found = choose_part(file, part, key)
    check_part(file, found)
    for note in found.notes:
        logging.info("%s: %s", file.path.name, note)
    rest = list(file.unused)
    for where, state in file.unknown.items():
        rest.append(f"{where or 'the file itself'} ({len(state)} tensors)")
    for other in file.parts:
        if other.part != part:
            rest.append(f"the {TITLES[other.part]} in {other.place}")
    for where in file.adapters:
        rest.append(f"the adapter in {where or 'the file itself'}, which is not merged (--lora)")
    if rest:
        logging.warning("%s: not used: %s", file.path.name, first_names(rest))
    return found.state


def choose_part(file: WeightFile, part: str, key: str | None = None) -> FoundPart:
    """The one part of this kind in a file, or that which `key` names.

    Of several transformers the first of public.TRANSFORMERS is taken, and the others are named.
    Raises InputError, which says what the file is, if there is none, and if none goes first.
    """
    title = TITLES[part]
    candidates = [found for found in file.parts if found.part == part]
    if not candidates:
        raise InputError(f"{file.path} holds no {title}: {_what_it_is(file, part)}")
    places = ", ".join(found.place for found in candidates)
    if key:
        chosen = [found for found in candidates if key in found.keys]
        if len(chosen) != 1:
            raise InputError(f"{file.path} holds no {title} {key}, or several: it has {places}")
        return chosen[0]
    first = min(candidates, key=_rank)
    rivals = [found for found in candidates if found is not first]
    if not rivals:
        return first
    if _rank(first) == min(_rank(found) for found in rivals):
        raise InputError(
            f"{file.path} holds the {title} several times: {places}; choose with --key"
        )
    others = ", ".join(found.place for found in rivals)
    logging.warning(
        "%s: %s is taken; there is also %s: --key NAME takes another",
        file.path.name,
        first.place,
        others,
    )
    return first


def _rank(found: FoundPart) -> int:
    """The order in which transformers are taken."""
    for rank, key in enumerate(public.TRANSFORMERS):
        if key in found.keys:
            return rank
    return len(public.TRANSFORMERS)


def _what_it_is(file: WeightFile, part: str) -> str:
    """What a file is that lacks a part, and what to do with it."""
    if file.adapters:
        return "it is an adapter (LoRA); --lora merges it into a transformer"
    if file.parts:
        found = file.parts[0]
        others = ", ".join(f"{TITLES[other.part]} ({other.place})" for other in file.parts)
        return f"it has {others}; {_OPTIONS[found.part]} reads it"
    names = list(file.unused)
    for state in file.unknown.values():
        names += state
    reason = explain_stranger(part, dict.fromkeys(names))
    return reason or f"its names are of no known layout: {first_names(names)}"


def check_part(file: WeightFile, found: FoundPart) -> None:
    """Raises InputError for what this package has no use for, with the reason."""
    reason = found.problem or explain_stranger(found.part, found.state)
    if reason:
        raise InputError(f"{file.path}: {reason}")


def first_names(names: Sequence[str], most: int = 10) -> str:
    """The first of some names, and how many more there are."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f", … ({len(names) - most} more)"
    return text or "nothing"
