"""Where the files are that an import reads: named one by one, or in a folder of a known layout.

Folders are told by what is in them: Wan's own files by their names; of a Diffusers folder
`transformer/ vae/ text_encoder/`, and of ComfyUI's `split_files/diffusion_models` and its like,
the one file that holds the part.
"""

import argparse
import pathlib
from collections.abc import Iterator, Sequence

from absl import logging

from shotstream_jax.convert.public import read_index
from shotstream_jax.convert.reader import TITLES, read_weights
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS

_DIFFUSERS = "diffusion_pytorch_model.safetensors"
_HF = "model.safetensors"
_INDEX = ".index.json"
# Where a model keeps its parts; the first name that is there is taken.
WAN_FILES = {
    "dit": (
        _DIFFUSERS,
        _DIFFUSERS + _INDEX,
        f"transformer/{_DIFFUSERS}",
        f"transformer/{_DIFFUSERS}{_INDEX}",
    ),
    "vae": (
        "Wan2.1_VAE.pth",
        f"vae/{_DIFFUSERS}",
        f"vae/{_DIFFUSERS}{_INDEX}",
    ),
    "text": (
        "models_t5_umt5-xxl-enc-bf16.pth",
        f"text_encoder/{_HF}",
        f"text_encoder/{_HF}{_INDEX}",
    ),
}
WAN_TOKENIZERS = (
    "google/umt5-xxl/tokenizer.json",
    "tokenizer/tokenizer.json",
    "google/umt5-xxl/spiece.model",
    "tokenizer/spiece.model",
)
# Folders of a part by themselves, in the folder of a model or in ComfyUI's `split_files`.
_FOLDERS = {
    "dit": ("transformer", "diffusion_models", "unet"),
    "vae": ("vae",),
    "text": ("text_encoder", "text_encoders", "clip"),
}
_INNER = ("", "split_files", "models")
_SUFFIXES = (".safetensors", ".gguf", ".pt", ".pth", ".bin")


def import_sources(args: argparse.Namespace) -> dict[str, pathlib.Path]:
    """Each part's file, in the order of PARTS; a file named alone goes before the Wan folder's.

    `--wan` may name a file that holds several parts, and the others a folder that holds theirs.
    Raises InputError if there is none, or if several could be meant.
    """
    if args.wan and not args.wan.exists():
        raise InputError(f"there is no Wan folder {args.wan}")
    if args.wan and (args.wan / "config.json").is_file() and (args.wan / "dit").exists():
        raise InputError(f"{args.wan} is a checkpoint already: shotstream convert copy copies it")
    # ShotStream's own weights are those of the transformer.
    named = {"dit": args.shotstream, "vae": args.vae, "text": args.text_encoder}
    # A file that is named goes before the folder's own.
    sources = {}
    for part in PARTS:
        path = part_file(named[part], part) if named[part] else _wan_part(args.wan, part)
        if path:
            sources[part] = path
    if args.key and "dit" not in sources:
        raise InputError("--key chooses a transformer: give --shotstream or --wan")
    if not sources:
        raise InputError(
            "nothing to import: give --wan, --hub, --shotstream, --vae or --text-encoder"
            + (f" ({args.wan} has no part that is known)" if args.wan else "")
        )
    return sources


def import_tokenizer(args: argparse.Namespace) -> pathlib.Path | None:
    """The tokeniser that is named, or that of the Wan folder."""
    if args.tokenizer or not args.wan:
        return args.tokenizer
    return _first_file(args.wan, WAN_TOKENIZERS)


def part_file(path: pathlib.Path, part: str) -> pathlib.Path:
    """The file that a part is read from: `path` itself, or the one in that folder.

    Raises InputError if the folder has none, or several.
    """
    if not path.is_dir():
        return path
    found = folder_part(path, part)
    if found is None:
        names = ", ".join(sorted(entry.name for entry in path.iterdir())[:10])
        raise InputError(f"{path} has no {TITLES[part]}: it has {names or 'nothing'}")
    return found


def folder_part(folder: pathlib.Path, part: str) -> pathlib.Path | None:
    """A part's file in a model's folder, or in the part's own; None if there is none.

    Raises InputError if several could be meant.
    """
    known = _first_file(folder, WAN_FILES[part])
    if known:
        return known
    # A folder of the part's own holds nothing else; any file beside others is looked into.
    places = [folder / inner / name for inner in _INNER for name in _FOLDERS[part]]
    for place in [*places, folder]:
        files = weight_files(place)
        if place is folder or len(files) > 1:
            files = [path for path in files if _holds(path, part)]
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise InputError(
                f"{place} has several files with the {TITLES[part]} ({names}): name one of them"
            )
        if files:
            return files[0]
    return None


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The weight files of a folder; those that an index names are the index."""
    if not folder.is_dir():
        return []
    indices = sorted(folder.glob(f"*{_INDEX}"))
    shards: set[str] = set()
    for index in indices:
        shards |= set(read_index(index).values())
    files = []
    for path in sorted(folder.iterdir()):
        if path.suffix in _SUFFIXES and path.name not in shards and path.is_file():
            files.append(path)
    return [*indices, *files]


def folder_files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """All weight files of a model's folder, also those of its parts' folders."""
    places = [folder]
    for inner in _INNER:
        for names in _FOLDERS.values():
            places += [folder / inner / name for name in names]
    for place in places:
        yield from weight_files(place)


def _wan_part(place: pathlib.Path | None, part: str) -> pathlib.Path | None:
    """A part of the Wan folder, or of the one file that has several."""
    if place is None:
        return None
    if place.is_dir():
        return folder_part(place, part)
    return place if _holds(place, part) else None


def _holds(path: pathlib.Path, part: str) -> bool:
    """Whether a file has a part. One that cannot be read is named, and has none."""
    try:
        return any(found.part == part for found in read_weights(path).parts)
    except InputError as error:
        logging.warning("not used: %s", error)
        return False


def _first_file(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path | None:
    """The first of these files that a folder has."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    return None
