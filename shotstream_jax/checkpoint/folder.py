"""The checkpoint folder: the stored parts, config.json, and the tokeniser.

    config.json        format version, sizes, and for each part its types, its source file,
                       that file's SHA-256 and, if it is from the hub, "owner/name@commit"
    dit/ vae/ text/    the parts (checkpoint/parts); or dit.safetensors and so on
    taehv/ …           smaller decoders, by their kinds, if it has any; with their sizes in
                       config.json
    tokenizer.json     if the text encoder has a vocabulary of its own

config.json is written last, and the folder gets its name only then: a folder that exists is
complete.
"""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from shotstream_jax.checkpoint.hub import hub_origin
from shotstream_jax.checkpoint.parts import PartToWrite
from shotstream_jax.core.errors import InputError
from shotstream_jax.presets import TINY_DECODERS, Preset

FORMAT_VERSION = 1


def check_new(folder: pathlib.Path, nbytes: int = 0) -> None:
    """Checks that a folder can be made.

    Raises InputError if it exists already, or if its disk does not have `nbytes` free.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already: name a new folder, or remove it")
    check_space(folder, nbytes)


def check_space(place: pathlib.Path, nbytes: int) -> None:
    """Raises InputError if the disk does not have `nbytes` free for a file or folder."""
    # The disk is that of the nearest folder that exists.
    parent = place.absolute().parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < nbytes:
        free_gb = free / 2**30
        needed_gb = nbytes / 2**30
        raise InputError(
            f"{parent} has {free_gb:.2f} GB free, {place.name} needs {needed_gb:.2f} GB"
        )


def start_folder(folder: pathlib.Path) -> pathlib.Path:
    """An empty folder to write to; `finish_folder` gives it its final name.

    Raises InputError if it cannot be made.
    """
    check_new(folder)
    partial = folder.with_name(folder.name + ".partial")
    # Of an interrupted run.
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another place") from None
    return partial


def finish_folder(
    partial: pathlib.Path,
    folder: pathlib.Path,
    preset: Preset,
    parts: Mapping[str, Mapping[str, Any]],
) -> None:
    """Writes config.json, and renames the folder.

    parts: the config's entry of each part (`part_entry`).
    """
    config = {
        "format": FORMAT_VERSION,
        "sizes": dataclasses.asdict(preset),
        "parts": parts,
    }
    text = json.dumps(config, indent=1) + "\n"
    (partial / "config.json").write_text(text)
    partial.replace(folder)


def part_entry(part: PartToWrite) -> dict[str, Any]:
    """What config.json tells of a part: its types, where it is from, and its own facts."""
    # The public file, if it is from one.
    source = None
    if part.source:
        source = {"file": part.source.name, "sha256": file_hash(part.source)}
        origin = hub_origin(part.source)
        if origin:
            source["hub"] = origin
    return {"dtypes": part.dtypes, "source": source, **part.facts}


def other_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a part's entry tells beside its types and its source, which are those of its file."""
    return {name: entry[name] for name in entry if name not in ("dtypes", "source")}


def file_hash(path: pathlib.Path) -> str:
    """A file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """The content of config.json.

    Raises InputError if the folder is not a checkpoint, or one of another format version.
    """
    path = folder / "config.json"
    # Whatever is wrong with the file is one of two messages.
    try:
        config = json.loads(path.read_text("utf-8"))
        version = config["format"]
        _check_fields(config)
    except FileNotFoundError:
        raise InputError(
            f"{folder} is not a checkpoint: it has no config.json "
            "(shotstream convert import makes one)"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path} is not a readable config of a checkpoint: convert it again"
        ) from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{folder} has format {version}, this version reads {FORMAT_VERSION}: convert it again"
        )
    return config


def _check_fields(config: dict[str, Any]) -> None:
    """Looks up every field that is used later, so that a missing one is found here."""
    _ = config["sizes"]["name"]
    for part in config["parts"].values():
        _ = part["dtypes"], part["source"]
    for kind in set(config["parts"]) & set(TINY_DECODERS):
        _ = config["parts"][kind]["sizes"], config["parts"][kind]["kind_by"]
