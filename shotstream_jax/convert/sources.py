"""Where the files are that an import reads."""

import argparse
import pathlib
from collections.abc import Sequence

from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS

# Where a Wan folder keeps its parts; the first name that is there is taken.
WAN_FILES = {
    "dit": (
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
        # In the …-Diffusers layout:
        "transformer/diffusion_pytorch_model.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
    ),
    "vae": ("Wan2.1_VAE.pth",),
    "text": ("models_t5_umt5-xxl-enc-bf16.pth",),
}
WAN_TOKENIZERS = ("google/umt5-xxl/tokenizer.json", "tokenizer/tokenizer.json")


def import_sources(args: argparse.Namespace) -> dict[str, pathlib.Path]:
    """Each part's file, in the order of PARTS; a file named alone goes before the Wan folder's."""
    if args.wan and not args.wan.is_dir():
        raise InputError(f"there is no Wan folder {args.wan}")
    # ShotStream's own weights are those of the transformer.
    named = {"dit": args.shotstream, "vae": args.vae, "text": args.text_encoder}
    # A file that is named goes before the folder's own.
    sources = {}
    for part in PARTS:
        path = named[part] or _first_file(args.wan, WAN_FILES[part])
        if path:
            sources[part] = path
    if args.key and "dit" not in sources:
        raise InputError("--key chooses a transformer: give --shotstream or --wan")
    if not sources:
        raise InputError(
            "nothing to import: give --wan, --hub, --shotstream, --vae or --text-encoder"
        )
    return sources


def import_tokenizer(args: argparse.Namespace) -> pathlib.Path | None:
    """The tokeniser that is named, or that of the Wan folder."""
    return args.tokenizer or _first_file(args.wan, WAN_TOKENIZERS)


def _first_file(folder: pathlib.Path | None, names: Sequence[str]) -> pathlib.Path | None:
    """The first of these files that a folder has."""
    if folder is None:
        return None
    for name in names:
        if (folder / name).is_file():
            return folder / name
    return None
