"""A model, or what a training run has trained, → a checkpoint folder."""

import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from shotstream_jax.checkpoint.checkpoint import Checkpoint, StoredPart, open_checkpoint
from shotstream_jax.checkpoint.folder import finish_folder, part_entry, start_folder
from shotstream_jax.checkpoint.parts import PartToWrite, Progress, part_of_tree, write_part
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.narrow import Narrow
from shotstream_jax.core.values import as_path
from shotstream_jax.model import PARTS, Model, Params
from shotstream_jax.nn.quantize import is_quantized
from shotstream_jax.presets import TINY_DECODERS, Preset
from shotstream_jax.text.tokenizer import FileTokenizer, Tokenizer


def save(model: Model, folder: str | pathlib.Path, storage: str = "folder") -> None:
    """Writes a checkpoint folder that `load` accepts. It gets its name only when it is complete.

    storage: "folder" or "file" (checkpoint/parts). A smaller decoder is not written. Raises
    InputError if the folder exists, or if the weights are quantized.
    """
    folder = as_path(folder, "the checkpoint's folder")
    if is_quantized(model.params["dit"]):
        raise InputError(
            "the model's weights are rounded to 8 bits: load it with quantize='none' to save it"
        )
    if isinstance(model.params["text"]["embedding"], Narrow):
        raise InputError("the text encoder is rounded to 8 bits: load it with text_dtype='same'")
    # All is written under another name, which finish_folder changes.
    partial = start_folder(folder)
    entries = {}
    for part in PARTS:
        entries[part] = _write_tree(partial, part, model.params[part], storage)
    _copy_tokenizer(model.tokenizer, partial)
    finish_folder(partial, folder, model.preset, entries)


def save_parts(
    trained: Params,
    preset: Preset,
    checkpoint: str | pathlib.Path | Checkpoint,
    folder: pathlib.Path,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes a checkpoint folder with trained parts and the other parts of their start.

    checkpoint: the one that the training started from. trained: numpy arrays, e.g. {"dit": …}.
    preset: the sizes to write; the shapes of all parameters are those of the checkpoint. facts:
    what config.json tells more of trained parts. An older folder of this name is replaced as a
    whole.
    """
    start = open_checkpoint(checkpoint)
    # The new folder is complete before the old one is removed.
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    partial = start_folder(new)
    # Trained parts are written; the others are taken over as they are stored. Decoders belong to
    # the autoencoder's latents.
    entries: dict[str, Any] = {}
    decoders = () if "vae" in trained else TINY_DECODERS
    for part in (*PARTS, *decoders):
        if part in trained:
            entries[part] = _write_tree(partial, part, trained[part], "folder")
            if facts and part in facts:
                entries[part] |= facts[part]
        elif part in start.parts:
            _copy_part(start.parts[part], partial)
            entries[part] = start.parts[part].entry
    _copy_tokenizer(start.tokenizer(), partial)
    finish_folder(partial, new, preset, entries)
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)


def add_part(
    checkpoint: Checkpoint, name: str, part: PartToWrite, folder: pathlib.Path, progress: Progress
) -> None:
    """Writes a checkpoint folder with one part more, or another one in its place.

    The other parts are taken over as they are stored, and share the disk's blocks where they can.
    Raises InputError if the folder exists, or if the disk refuses it.
    """
    partial = start_folder(folder)
    entries: dict[str, Any] = {}
    # What fails on the way leaves nothing behind; an interrupted run leaves NAME.partial.
    try:
        for other, stored in checkpoint.parts.items():
            if other != name:
                _copy_part(stored, partial)
                entries[other] = stored.entry
        write_part(partial, name, part, "folder", progress)
        entries[name] = part_entry(part)
        if checkpoint.vocabulary.is_file():
            shutil.copy(checkpoint.vocabulary, partial / "tokenizer.json")
        finish_folder(partial, folder, checkpoint.preset, entries)
    except InputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None


def save_some(checkpoint: Checkpoint, parts: Sequence[str], folder: pathlib.Path) -> None:
    """Writes a checkpoint folder that has only these parts of another one, as they are stored.

    Raises InputError if the checkpoint lacks one of them, or if the folder exists.
    """
    for part in parts:
        if part not in checkpoint.parts:
            there = ", ".join(checkpoint.parts)
            raise InputError(f"{checkpoint.name} has no part {part!r}; it has {there}")
    partial = start_folder(folder)
    entries: dict[str, Any] = {}
    for part in parts:
        _copy_part(checkpoint.parts[part], partial)
        entries[part] = checkpoint.parts[part].entry
    _copy_tokenizer(checkpoint.tokenizer(), partial)
    finish_folder(partial, folder, checkpoint.preset, entries)


def add_facts(
    checkpoint: Checkpoint, name: str, facts: Mapping[str, Any], folder: pathlib.Path
) -> None:
    """Writes a checkpoint folder whose config.json says more about one part.

    All parts are taken over as they are stored, and share the disk's blocks where they can. Raises
    InputError if the folder exists, or if the disk refuses it.
    """
    partial = start_folder(folder)
    entries: dict[str, Any] = {}
    try:
        for part, stored in checkpoint.parts.items():
            _copy_part(stored, partial)
            entries[part] = dict(stored.entry)
        # The other facts of the part stay.
        entries[name] |= facts
        if checkpoint.vocabulary.is_file():
            shutil.copy(checkpoint.vocabulary, partial / "tokenizer.json")
        finish_folder(partial, folder, checkpoint.preset, entries)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from None


def _write_tree(folder: pathlib.Path, name: str, params: Params, storage: str) -> dict[str, Any]:
    """Stores a part that is in memory. Returns its entry for config.json."""
    part = part_of_tree(params)

    def no_progress(_: int) -> None:
        """A tree in memory is written without a progress bar."""

    write_part(folder, name, part, storage, no_progress)
    return part_entry(part)


def _copy_part(part: StoredPart, folder: pathlib.Path) -> None:
    """Nobody writes into a checkpoint's arrays, so the copies can share the disk's blocks."""
    target = folder / part.place.name
    if part.place.is_dir():
        shutil.copytree(part.place, target, copy_function=_link)
    else:
        _link(str(part.place), str(target))


def _link(source: str, target: str) -> None:
    try:
        # The file itself: the hub's cache has links to its files.
        os.link(os.path.realpath(source), target)
    except OSError:
        # Another disk, or one without hard links.
        shutil.copy2(source, target)


def _copy_tokenizer(tokenizer: Tokenizer, folder: pathlib.Path) -> None:
    if isinstance(tokenizer, FileTokenizer):
        shutil.copy(tokenizer.path, folder / "tokenizer.json")
