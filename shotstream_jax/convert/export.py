"""A checkpoint → what other programs read: a part as one file, or the model as a folder."""

import argparse
import contextlib
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from absl import logging

from shotstream_jax.checkpoint.checkpoint import Checkpoint, open_checkpoint
from shotstream_jax.checkpoint.folder import check_new, other_facts, start_folder
from shotstream_jax.convert import public
from shotstream_jax.convert.checkpoints import export_part, open_public_part
from shotstream_jax.convert.comfyui import write_comfyui
from shotstream_jax.convert.diffusers import write_diffusers
from shotstream_jax.convert.fetch import local_file
from shotstream_jax.convert.lora.options import (
    LoraOptions,
    add_lora_options,
    facts_after_merge,
    lora_options,
    merge_into,
)
from shotstream_jax.convert.names import State, state_bytes
from shotstream_jax.convert.progress import byte_bar
from shotstream_jax.convert.sizes import kept_texts
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS
from shotstream_jax.presets import TINY_DECODERS
from shotstream_jax.text.sentencepiece import convert_sentencepiece
from shotstream_jax.text.tokenizer import check_tokenizer

FILE_LAYOUT = "file"
DIFFUSERS = "diffusers"
COMFYUI = "comfyui"
LAYOUTS = (FILE_LAYOUT, DIFFUSERS, COMFYUI)


def add_export(commands: Any) -> None:
    """Adds the command `export`."""
    c = commands.add_parser(
        "export", help="a checkpoint folder → a part as a public file, or the model as a folder"
    )
    c.set_defaults(run=run_export)
    c.add_argument("checkpoint", metavar="DIR", help="its folder, or tiny, tiny-teacher")
    c.add_argument(
        "--layout",
        choices=LAYOUTS,
        default=FILE_LAYOUT,
        help="file: one part, under Wan's own names; diffusers: a folder of the whole model for "
        "Diffusers and what reads its folders; comfyui: a folder of single files for ComfyUI "
        "(default: %(default)s)",
    )
    c.add_argument(
        "--part",
        choices=(*PARTS, *TINY_DECODERS),
        help="what a file has (default: dit)",
    )
    c.add_argument(
        "--key",
        choices=public.TRANSFORMERS,
        help="the name in a .pt file (default: generator)",
    )
    c.add_argument(
        "--spiece",
        type=pathlib.Path,
        metavar="FILE",
        help="for comfyui: the tokeniser as a SentencePiece model, google/umt5-xxl/spiece.model, "
        "which ComfyUI wants within the text encoder's file; a checkpoint has none",
    )
    add_lora_options(c)
    c.add_argument(
        "--out",
        type=pathlib.Path,
        required=True,
        metavar="FILE|DIR",
        help="a .pt, .pth or .safetensors file; for another layout a new folder",
    )


def run_export(args: argparse.Namespace) -> None:
    """Runs the command."""
    # Options that do not go together are refused before anything is opened.
    lora = lora_options(args)
    if args.spiece and args.layout != COMFYUI:
        raise InputError(f"--spiece goes with --layout {COMFYUI}")
    if args.layout != FILE_LAYOUT:
        if args.part or args.key:
            raise InputError(f"--part and --key go with one file, not with --layout {args.layout}")
        _export_folder(args, lora)
        return
    part = args.part or "dit"
    if part != "dit" and (args.lora or args.key):
        raise InputError(f"--lora and --key go with --part dit, not {part}")
    if args.key and args.out.suffix == ".safetensors":
        raise InputError(
            "--key names the transformer in a .pt file; a .safetensors file has no such name"
        )
    # Nothing is read until it is written.
    checkpoint = open_checkpoint(args.checkpoint)
    state = merge_into(open_public_part(checkpoint, part), lora)
    key = args.key or "generator"
    texts = _kept(checkpoint, part, lora)
    with byte_bar(state_bytes(state)) as progress:
        export_part(state, part, args.out, key=key, progress=progress, texts=texts)
    logging.info("%s: %s, %d tensors", args.out, part, len(state))


def _kept(checkpoint: Checkpoint, part: str, lora: LoraOptions) -> dict[str, str]:
    """What a part's public file keeps of the checkpoint."""
    facts = other_facts(checkpoint.parts[part].entry)
    if part == "dit":
        facts = facts_after_merge(facts, lora)
    return kept_texts(checkpoint.preset, facts)


def _export_folder(args: argparse.Namespace, lora: LoraOptions) -> None:
    """All parts of a model in one of the layouts that are folders."""
    checkpoint = open_checkpoint(args.checkpoint)
    out = args.out
    spiece = _read_spiece(args.spiece, checkpoint.preset.text.vocab) if args.spiece else None
    states: dict[str, State] = {}
    for part in PARTS:
        if part in checkpoint.parts:
            states[part] = open_public_part(checkpoint, part)
    if "dit" in states:
        states["dit"] = merge_into(states["dit"], lora)
    elif lora.sources:
        raise InputError(f"{checkpoint.name} has no transformer that --lora could change")
    total = sum(state_bytes(state) for state in states.values())
    check_new(out, total)
    texts = {part: _kept(checkpoint, part, lora) for part in states}
    with byte_bar(total) as progress:
        if args.layout == DIFFUSERS:
            tokenizer = checkpoint.vocabulary if checkpoint.vocabulary.is_file() else None
            with _new_folder(out) as folder:
                write_diffusers(states, texts, checkpoint.preset, tokenizer, folder, progress)
        else:
            with _new_folder(out) as folder:
                write_comfyui(states, texts, out.name, spiece, folder, progress)
    logging.info("%s: %s as %s", out, ", ".join(states), args.layout)
    _tell_left_out(checkpoint, args.layout == DIFFUSERS or spiece is not None)


def _read_spiece(path: pathlib.Path, rows: int) -> bytes:
    """A SentencePiece model. Raises InputError if it is none, or not of this text encoder."""
    file = local_file(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    check_tokenizer(convert_sentencepiece(content, str(file)).encode(), rows, str(file))
    return content


@contextlib.contextmanager
def _new_folder(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives an empty folder, which gets its name when all is written.

    What fails on the way leaves nothing behind; an interrupted run leaves NAME.partial. Raises
    InputError if the disk refuses it.
    """
    partial = start_folder(out)
    try:
        yield partial
        partial.replace(out)
    except InputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot write {out}: {error.strerror or error}") from None


def _tell_left_out(checkpoint: Checkpoint, has_tokenizer: bool) -> None:
    """What the model has, or should have, and the folder has not."""
    left_out = [f"{part} (the checkpoint has none)" for part in checkpoint.missing]
    left_out += [kind for kind in TINY_DECODERS if kind in checkpoint.parts]
    if not has_tokenizer:
        left_out.append("the tokeniser (name its SentencePiece model with --spiece)")
    if left_out:
        logging.warning("left out: %s", "; ".join(left_out))
