"""The native checkpoint folder: sharded arrays of each part, config.json, the tokeniser.

    config.json            format version, sizes, and for each part its source file, that file's hash, and its types
    dit/ vae/ text/        one zarr array a parameter (checkpoint/arrays)
    tokenizer.json

config.json comes last, and the whole folder is made under another name: a folder that exists is complete.
"""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.checkpoint.arrays import (
    create_array,
    dtype_of,
    open_array,
    read_slice,
    write_slice,
)
from shotstream_jax.convert.rules import (
    Entry,
    Lazy,
    State,
    Table,
    check_table,
    our_layout,
    public_layout,
)
from shotstream_jax.core.errors import InputError

FORMAT_VERSION = 1
Progress = Callable[[int], None]  # called with a number of bytes that are done


@dataclasses.dataclass(frozen=True)
class Part:
    """One part to be stored: its table, the shapes of our tree, the checked weights, and the file they are from."""

    table: Table
    abstract: Any
    state: State
    source: pathlib.Path | None = None


def check_new(folder: pathlib.Path, nbytes: int = 0) -> None:
    """Refuses a folder that is there already, or whose disk cannot hold so many bytes."""
    if folder.exists():
        raise InputError(f"{folder} exists already: name a new folder, or remove it")
    parent = next(p for p in folder.absolute().parents if p.exists())
    free = shutil.disk_usage(parent).free
    if free < nbytes:
        raise InputError(
            f"{parent} has {free / 2**30:.2f} GB free, {folder.name} needs {nbytes / 2**30:.2f} GB"
        )


def stage(folder: pathlib.Path) -> pathlib.Path:
    """An empty folder to work in; `finish` gives it its final name. What an interrupted run left is removed."""
    check_new(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another place") from None
    return partial


def finish(
    partial: pathlib.Path, folder: pathlib.Path, sizes: Mapping[str, Any], parts: Mapping[str, Any]
) -> None:
    config = {"format": FORMAT_VERSION, "sizes": sizes, "parts": parts}
    (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    partial.replace(folder)


def write_part(folder: pathlib.Path, part: Part, progress: Progress) -> dict[str, Any]:
    """Stores one part entry by entry, in the types of its source. Returns its entry for config.json.

    At most one public tensor is in memory at a time, beside what the storage is still writing.
    """
    flat = flax.traverse_util.flatten_dict(part.abstract)
    check_table(part.table, flat)
    types = part_types(part)
    stacked = {entry.path for entry in part.table.entries if entry.layer is not None}
    stores = {
        path: create_array(folder, "/".join(path), leaf.shape, types[path], stacked=path in stacked)
        for path, leaf in flat.items()
    }
    for entry in part.table.entries:
        array = np.asarray(part.state[entry.public])
        target = stores[entry.path] if entry.layer is None else stores[entry.path][entry.layer]
        write_slice(target, our_layout(entry, array, target.shape))
        progress(array.nbytes)
    kinds = sorted({kind.name for kind in types.values()})
    source = {"file": part.source.name, "sha256": file_hash(part.source)} if part.source else None
    return {"dtypes": kinds, "source": source}


def part_types(part: Part) -> dict[tuple[str, ...], np.dtype]:
    """Each parameter's type; layers that are stacked must share one."""
    types: dict[tuple[str, ...], np.dtype] = {}
    for entry in part.table.entries:
        kind = part.state[entry.public].dtype
        if not jnp.issubdtype(kind, jnp.floating):
            raise InputError(f"{entry.public} is {kind}: weights are floats")
        if types.setdefault(entry.path, kind) != kind:
            raise InputError(
                f"{entry.public} is {kind}, the same weight of another layer {types[entry.path]}: cast them"
            )
    return types


def file_hash(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """config.json, or the reason why the folder is no checkpoint."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
        version = config["format"]
        _ = (
            config["sizes"]["name"],
            [(part["dtypes"], part["source"]) for part in config["parts"].values()],
        )
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no checkpoint: it has no config.json (convert import makes one)"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{path} is no readable config of a checkpoint: convert it again"
        ) from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{folder} has format {version}, this version reads {FORMAT_VERSION}: convert it again"
        )
    return config


def read_part(folder: pathlib.Path, table: Table) -> State:
    """A part under its public names, unread: the way back, one public tensor at a time."""
    stores = {path: open_array(folder, "/".join(path)) for path in {e.path for e in table.entries}}

    def lazy(entry: Entry) -> Lazy:
        store = stores[entry.path] if entry.layer is None else stores[entry.path][entry.layer]
        return Lazy(entry.shape, dtype_of(store), lambda: public_layout(entry, read_slice(store)))

    return {entry.public: lazy(entry) for entry in table.entries}
