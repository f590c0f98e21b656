"""Between public files and checkpoint folders, and from a folder to another one.

Everything is checked before anything is written, and weights are read one array at a time.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from shotstream_jax.checkpoint.checkpoint import (
    Checkpoint,
    open_checkpoint,
)
from shotstream_jax.checkpoint.folder import (
    check_new,
    check_space,
    finish_folder,
    other_facts,
    part_entry,
    start_folder,
)
from shotstream_jax.checkpoint.parts import PartToWrite, Progress, write_part
from shotstream_jax.convert import public
from shotstream_jax.convert.cast import cast_lazy, cast_part
from shotstream_jax.convert.decoders import open_decoder
from shotstream_jax.convert.files import write_safetensors
from shotstream_jax.convert.fit import find_preset_of
from shotstream_jax.convert.lora.options import LoraOptions, facts_after_merge, merge_into
from shotstream_jax.convert.names import State, check_keys, state_bytes
from shotstream_jax.convert.reader import open_part_of_file
from shotstream_jax.convert.sizes import choose_preset, read_facts
from shotstream_jax.convert.stored import part_of_state, state_of_part
from shotstream_jax.convert.tables import decoder_table, part_table
from shotstream_jax.convert.torch_io import write_torch
from shotstream_jax.convert.vocabulary import inner_vocabulary, read_vocabulary
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import abstract_params
from shotstream_jax.presets import TINY_DECODERS, Preset


@dataclasses.dataclass(frozen=True)
class FolderPlan:
    """A checkpoint folder to be written. All is checked: only the disk can still refuse it."""

    preset: Preset
    parts: dict[str, PartToWrite]
    out: pathlib.Path
    tokenizer: bytes | None  # the content of its tokenizer.json

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        return sum(part.nbytes for part in self.parts.values())


def prepare_import(
    sources: Mapping[str, pathlib.Path],
    out: pathlib.Path,
    *,
    preset: Preset | None = None,
    tokenizer: pathlib.Path | None = None,
    key: str | None = None,
    decoder: pathlib.Path | None = None,
    decoder_kind: str | None = None,
    lora: LoraOptions | None = None,
) -> FolderPlan:
    """Opens and checks the public files of some parts; reads no weights and writes nothing.

    sources: part → public file. preset: refuse anything else (default: the one that the files
    match). key: which transformer of a training file. decoder: the public file of a smaller one,
    to stand beside the autoencoder, and its kind, if the caller knows it (convert/decoders). lora:
    adapters that are merged into the transformer.
    Raises InputError if a file does not fit, or if `out` exists or has no space.
    """
    _check_has_transformer(lora, sources, "give --shotstream or --wan")
    # The sizes that the files keep; else the preset that they fit.
    states = _open_sources(sources, key)
    preset = choose_preset(sources, states, preset, find_preset_of)
    # Every part must have exactly the preset's keys and shapes.
    parts = {}
    for part, state in states.items():
        table = part_table(preset, part)
        try:
            check_keys(table, state)
        except InputError as error:
            raise InputError(f"{sources[part]}: {error} (preset {preset.name})") from None
        facts = read_facts(sources[part])
        if lora and part == "dit":
            state = merge_into(state, lora)
            facts = facts_after_merge(facts, lora)
        plain = part_of_state(table, abstract_params(preset, part), state, sources[part])
        parts[part] = dataclasses.replace(plain, facts=facts)
    if decoder:
        opened = open_decoder(decoder, decoder_kind, preset.vae)
        parts[opened.kind] = opened.part
    vocabulary = None
    if tokenizer:
        vocabulary = read_vocabulary(tokenizer, preset.text.vocab)
    elif "text" in sources:
        vocabulary = inner_vocabulary(sources["text"], preset.text.vocab)
    plan = FolderPlan(preset, parts, out, vocabulary)
    check_new(out, plan.nbytes)
    return plan


def _open_sources(sources: Mapping[str, pathlib.Path], key: str | None) -> dict[str, State]:
    """The state dict of every part; key: of the transformer."""
    states = {}
    for part, path in sources.items():
        states[part] = open_part_of_file(path, part, key if part == "dit" else None)
    return states


def prepare_copy(
    checkpoint: Checkpoint,
    out: pathlib.Path,
    dtype: np.dtype | None,
    parts: Sequence[str],
    shot_phase: float | None = None,
    lora: LoraOptions | None = None,
) -> FolderPlan:
    """Plans a copy of parts of a checkpoint, in another type or with another shot phase.

    dtype: None keeps the types. lora: adapters that are merged into the transformer. Raises
    InputError as `prepare_import` does.
    """
    _check_has_transformer(lora, parts, "copy the part dit")
    # Nothing is read yet: the types change while the copy is written.
    copied = {}
    for part in parts:
        cast = cast_part(checkpoint.stored_arrays(part), dtype)
        # The dtypes and the source are those of what is copied; whatever else is told stays.
        facts = other_facts(checkpoint.parts[part].entry)
        if lora and lora.sources and part == "dit":
            cast = _merged_part(checkpoint, dtype, lora)
            facts = facts_after_merge(facts, lora)
        copied[part] = dataclasses.replace(cast, facts=facts)
    # The shot phase is a size, not a weight.
    preset = checkpoint.preset
    if shot_phase is not None:
        dit = dataclasses.replace(preset.dit, shot_phase=shot_phase)
        preset = dataclasses.replace(preset, dit=dit)
    tokenizer = None
    if checkpoint.vocabulary.is_file():
        tokenizer = checkpoint.vocabulary.read_bytes()
    plan = FolderPlan(preset, copied, out, tokenizer)
    check_new(out, plan.nbytes)
    return plan


def _check_has_transformer(lora: LoraOptions | None, parts: Iterable[str], remedy: str) -> None:
    """Raises InputError if there are adapters, and no transformer for them."""
    if lora and lora.sources and "dit" not in parts:
        raise InputError(f"--lora is merged into a transformer: {remedy}")


def _merged_part(checkpoint: Checkpoint, dtype: np.dtype | None, lora: LoraOptions) -> PartToWrite:
    """A stored transformer with adapters added, in another type (None: in its own)."""
    merged = merge_into(open_public_part(checkpoint, "dit"), lora)
    cast = {}
    for name, array in merged.items():
        cast[name] = cast_lazy(name, array, dtype or array.dtype)
    table = part_table(checkpoint.preset, "dit")
    return part_of_state(table, abstract_params(checkpoint.preset, "dit"), cast)


def write_plan(plan: FolderPlan, progress: Progress, storage: str = "folder") -> None:
    """Writes a planned checkpoint folder, which has its name only when it is whole.

    storage: of its parts (checkpoint/parts). Raises InputError if the disk refuses it.
    """
    partial = start_folder(plan.out)
    # What fails on the way leaves nothing behind; an interrupted run leaves NAME.partial.
    try:
        entries = {}
        for name, part in plan.parts.items():
            write_part(partial, name, part, storage, progress)
            entries[name] = part_entry(part)
        if plan.tokenizer:
            (partial / "tokenizer.json").write_bytes(plan.tokenizer)
        finish_folder(partial, plan.out, plan.preset, entries)
    except InputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot write {plan.out}: {error.strerror or error}") from None


def open_public_part(checkpoint: str | pathlib.Path | Checkpoint, part: str) -> State:
    """A part of a checkpoint under its public names, not read yet."""
    opened = open_checkpoint(checkpoint)
    arrays = opened.stored_arrays(part)
    sizes = opened.decoder(part) if part in TINY_DECODERS else None
    table = part_table(opened.preset, part) if sizes is None else decoder_table(sizes)
    return state_of_part(table, arrays)


def export_part(
    state: State,
    part: str,
    out: pathlib.Path,
    *,
    key: str = "generator",
    progress: Progress = lambda _: None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """A part → a public file: `.safetensors`, `.pt` or `.pth`.

    key: the name under which a `.pt` file has a transformer, as training files do. texts: what the
    file keeps beside the tensors (convert/sizes). Raises InputError if the file cannot be written.
    """
    if part == "dit" and out.suffix != ".safetensors":
        write_public(public.wrapped(state, key), out, progress, texts)
    else:
        write_public({"": state}, out, progress, texts)


def write_public(
    content: Mapping[str, Any],
    out: pathlib.Path,
    progress: Progress,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes what `public.open_file` reads: the file's own tensors are under "".

    texts: what the file keeps beside the tensors. Raises InputError if the file's kind is not known
    or cannot hold the content, or if the disk refuses it.
    """
    # The name tells the format, and only PyTorch's can hold more than weights.
    if out.suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"cannot write {out}: name a .safetensors, .pt or .pth file")
    if out.suffix == ".safetensors" and set(content) != {""}:
        raise InputError(
            f"cannot write {', '.join(content)} to {out}: a .pt file can hold more than weights"
        )
    states = [value for value in content.values() if public.is_state(value)]
    check_space(out, sum(state_bytes(state) for state in states))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".safetensors":
            write_safetensors(content[""], out, progress, texts)
            return
        # In a .pt file the own tensors stand beside the other entries.
        entries = dict(content.get("", {}))
        for name, value in content.items():
            if name:
                entries[name] = value
        write_torch(out, entries, progress, texts)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from None
