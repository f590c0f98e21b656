"""Public weights from the Hugging Face hub: which files of a repository an import needs.

Of a layout that is a whole model (convert/sources), each part's file, in one of its forms, and the
tokeniser. Of anything else nothing: the caller names the files.
"""

import argparse
import pathlib
from collections.abc import Collection

from shotstream_jax.checkpoint.hub import (
    Repository,
    checkpoint_files,
    fetch,
    fetch_checkpoint,
    fetch_file,
    is_hub_name,
    list_weights,
    open_repository,
    read_hub_name,
)
from shotstream_jax.convert.public import read_index
from shotstream_jax.convert.sources import WAN_FILES, WAN_TOKENIZERS
from shotstream_jax.core.errors import InputError

_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_INDEX = ".index.json"
# The options of an import that name a part's file.
_PART_OPTIONS = {"shotstream": "dit", "vae": "vae", "text_encoder": "text"}
_FILE_OPTIONS = (*_PART_OPTIONS, "tokenizer", "decoder")


def local_file(path: pathlib.Path) -> pathlib.Path:
    """The file itself, which is fetched if `path` is a name on the hub. Raises InputError."""
    if is_hub_name(path):
        return fetch_file(path)
    return path


def local_adapter(path: pathlib.Path) -> pathlib.Path:
    """The same for an adapter's file, or for PEFT's folder of one."""
    if not is_hub_name(path):
        return path
    name = read_hub_name(path)
    if name.is_file:
        return fetch_file(path)
    repository = open_repository(name)
    folder = f"{name.place}/" if name.place else ""
    files = [folder + file for file in _ADAPTER if folder + file in repository.files]
    if not files:
        raise InputError(f"{path} has no adapter_model: it has {list_weights(repository)}")
    return fetch(repository, files).folder / name.place


def local_place(path: pathlib.Path) -> pathlib.Path:
    """The same for a file or a checkpoint folder."""
    if not is_hub_name(path):
        return path
    if read_hub_name(path).is_file:
        return fetch_file(path)
    return fetch_checkpoint(path)


def fetch_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of an import with files here in place of names on the hub.

    `--hub` becomes `--wan`, with the folder in the hub's cache. Raises InputError.
    """
    if args.hub and args.wan:
        raise InputError("--hub and --wan are two places for the same: give one of them")
    here = dict(vars(args))
    for option in _FILE_OPTIONS:
        if here[option]:
            here[option] = local_file(here[option])
    if args.hub:
        named = {part for option, part in _PART_OPTIONS.items() if here[option]}
        here["wan"] = fetch_model(args.hub, named)
    return argparse.Namespace(**here)


def fetch_model(text: str, without: Collection[str] = ()) -> pathlib.Path:
    """A whole model of a repository, in the hub's cache: its folder there.

    text: "owner/name[@revision][/folder]". without: the parts that are not wanted. Raises
    InputError if it has no layout that is known, with the names of the files that may hold weights.
    """
    name = read_hub_name(text)
    repository = open_repository(name)
    if checkpoint_files(repository):
        raise InputError(
            f"{name.address} is a checkpoint already and can be named so; shotstream convert copy "
            f"{name.address} --dtype same --out DIR makes a copy of it"
        )
    files = _model_files(repository, without)
    if files:
        return fetch(repository, files).folder / name.place
    if not repository.weight_files:
        raise InputError(f"{text} has no weights that are known")
    weights = list_weights(repository)
    raise InputError(
        f"{text} is not a whole model in a layout that is known: name its files, each with its "
        f"option (--shotstream, --vae, --text-encoder, --decoder); it has {weights}"
    )


def _model_files(repository: Repository, without: Collection[str]) -> list[str]:
    """The files of a public layout that is a whole model; empty if the repository has none."""
    place = repository.name.place
    folder = f"{place}/" if place else ""
    wanted = []
    for part, names in WAN_FILES.items():
        chosen = _first_of(repository, folder, names)
        if chosen and part not in without:
            wanted.append(chosen)
    if not wanted:
        return []
    # The shards of an index are known when it is here.
    indices = [file for file in wanted if file.endswith(_INDEX)]
    if indices:
        snapshot = fetch(repository, indices)
        for index in indices:
            wanted += _shards(repository, snapshot.folder, index)
    tokenizer = _first_of(repository, folder, WAN_TOKENIZERS)
    if tokenizer:
        wanted.append(tokenizer)
    return wanted


def _first_of(repository: Repository, folder: str, names: Collection[str]) -> str | None:
    """The first of these files that the repository has in a folder of it."""
    for name in names:
        if folder + name in repository.files:
            return folder + name
    return None


def _shards(repository: Repository, snapshot: pathlib.Path, index: str) -> list[str]:
    """The files that an index names, which lie beside it."""
    beside = pathlib.PurePosixPath(index).parent
    shards = []
    for shard in sorted(set(read_index(snapshot / index).values())):
        file = (beside / shard).as_posix()
        if file not in repository.files:
            raise InputError(f"{repository.name} lacks {file}, which {index} names")
        shards.append(file)
    return shards
