"""Public checkpoints into JAX and back, one tensor at a time.

  shotstream convert import --wan Wan2.1-T2V-1.3B --out ckpt/wan
  shotstream convert import --hub Wan-AI/Wan2.1-T2V-1.3B --out ckpt/wan
  shotstream convert import --shotstream shotstream_merged.pt --out ckpt/shotstream
  shotstream convert add-decoder ckpt/shotstream taew2_1.pth --out ckpt/live
  shotstream convert quantize ckpt/shotstream --story story.json --out ckpt/calibrated
  shotstream convert inspect ckpt/shotstream
  shotstream convert export ckpt/shotstream --part dit --out shotstream.pt
  shotstream convert export ckpt/shotstream --layout diffusers --out shotstream-diffusers
  shotstream convert copy ckpt/shotstream --dtype same --storage file --out ckpt/files
  shotstream convert merge-lora base.pt --lora lora.safetensors:0.8 --out merged.pt

`import` reads .safetensors (also sharded, by its index), .pt and .pth files, without PyTorch, and
the …-Diffusers layout. Nothing in a file is ever executed. An interrupted import or export leaves
nothing under the final name. Wherever a file or a checkpoint is named, hf:owner/name[@revision]
and /place after it is one on the Hugging Face hub.
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import LARGEST_INPUTS, open_checkpoint
from shotstream_jax.checkpoint.folder import check_new
from shotstream_jax.checkpoint.load import DTYPES, load
from shotstream_jax.checkpoint.parts import STORAGES
from shotstream_jax.checkpoint.save import add_facts, add_part
from shotstream_jax.convert import checkpoints, public
from shotstream_jax.convert.decoders import open_decoder
from shotstream_jax.convert.export import add_export
from shotstream_jax.convert.fetch import fetch_arguments, local_file, local_place
from shotstream_jax.convert.inspect import inspect
from shotstream_jax.convert.lora.merge_file import merge_file
from shotstream_jax.convert.lora.options import add_lora_options, lora_options
from shotstream_jax.convert.names import state_bytes
from shotstream_jax.convert.progress import byte_bar
from shotstream_jax.convert.sizes import texts_after_merge
from shotstream_jax.convert.sources import import_sources, import_tokenizer
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS
from shotstream_jax.presets import TINY_DECODERS, find_preset
from shotstream_jax.text.prompts import read_script

_ALL_PARTS = (*PARTS, *TINY_DECODERS)

_TOKENIZER_HELP = "its tokenizer.json or spiece.model, or their folder"
_SAME = "same"
_TYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(jnp.bfloat16),
    "float32": np.dtype(np.float32),
    _SAME: None,
}


def parser() -> cli.Parser:
    """The commands and their options."""
    p = cli.make_parser("shotstream_jax.convert", __doc__)
    commands = p.add_subparsers(dest="command", required=True)
    _add_import(commands)
    _add_add_decoder(commands)
    _add_quantize(commands)
    add_export(commands)
    _add_copy(commands)
    _add_merge(commands)
    _add_inspect(commands)
    return p


def _add_import(commands: Any) -> None:
    c = commands.add_parser("import", help="public files → a checkpoint folder")
    c.set_defaults(run=run_import)
    # Where the parts come from: a folder with all of them, or one file each.
    c.add_argument(
        "--wan",
        type=pathlib.Path,
        metavar="DIR",
        help="a folder of Wan 2.1, Diffusers or ComfyUI, or one file: every part that it has",
    )
    c.add_argument(
        "--hub",
        metavar="OWNER/NAME[@REVISION]",
        help="the same from a repository of the Hugging Face hub: only the files that are needed",
    )
    c.add_argument(
        "--shotstream",
        type=pathlib.Path,
        metavar="FILE",
        help="the transformer, in place of Wan's",
    )
    c.add_argument("--vae", type=pathlib.Path, metavar="FILE", help="the autoencoder alone")
    c.add_argument(
        "--text-encoder",
        type=pathlib.Path,
        metavar="FILE",
        help="the text encoder alone",
    )
    c.add_argument("--tokenizer", type=pathlib.Path, metavar="FILE", help=_TOKENIZER_HELP)
    c.add_argument(
        "--decoder",
        type=pathlib.Path,
        metavar="FILE",
        help="a smaller decoder beside the autoencoder (docs/checkpoints.md)",
    )
    _add_decoder_kind(c)
    # What to take of them, and what they must be.
    c.add_argument(
        "--key",
        metavar="NAME",
        help=f"which transformer of a training file: {', '.join(public.TRANSFORMERS)}",
    )
    c.add_argument(
        "--preset",
        metavar="NAME",
        help="refuse anything else (default: the preset that the files match)",
    )
    add_lora_options(c)
    _add_out(c, "DIR")


def _add_add_decoder(commands: Any) -> None:
    c = commands.add_parser(
        "add-decoder", help="a checkpoint folder + a smaller decoder's public file → another folder"
    )
    c.set_defaults(run=run_add_decoder)
    c.add_argument("checkpoint", metavar="DIR", help="its folder")
    c.add_argument("file", type=pathlib.Path, metavar="FILE", help="the decoder's weights")
    _add_decoder_kind(c)
    _add_out(c, "DIR")


def _add_decoder_kind(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--decoder-kind",
        choices=TINY_DECODERS,
        help="what the decoder's file is (default: told by its names and types)",
    )


def _add_quantize(commands: Any) -> None:
    c = commands.add_parser(
        "quantize",
        help="a checkpoint folder → another one that knows its activations' scales for 8 bits",
    )
    c.set_defaults(run=run_quantize)
    c.add_argument("checkpoint", metavar="DIR", help="its folder, or tiny, tiny-teacher")
    c.add_argument(
        "--story",
        type=pathlib.Path,
        action="append",
        required=True,
        metavar="FILE",
        help="a story file of the kind that will be asked; again for another one: a few are enough",
    )
    c.add_argument(
        "--dtype",
        choices=DTYPES,
        default="bfloat16",
        help="of the matmuls while they are watched (default: %(default)s)",
    )
    _add_out(c, "DIR")


def _add_copy(commands: Any) -> None:
    c = commands.add_parser(
        "copy",
        help="a checkpoint folder → another one: fewer bits, fewer files or some parts only",
    )
    c.set_defaults(run=run_copy)
    c.add_argument("checkpoint", metavar="DIR", help="its folder, or tiny, tiny-teacher")
    c.add_argument(
        "--dtype",
        choices=_TYPES,
        default="float16",
        help=f"of what is stored; {_SAME} keeps the types (default: %(default)s)",
    )
    c.add_argument(
        "--part",
        choices=_ALL_PARTS,
        action="append",
        help="again for another one (default: all)",
    )
    c.add_argument(
        "--storage",
        choices=STORAGES,
        default="folder",
        help="of each part: a folder of arrays, or one .safetensors file (default: %(default)s)",
    )
    c.add_argument(
        "--shot-phase",
        type=float,
        metavar="RADIANS",
        help="between shots from now on; 0 for none (an ablation)",
    )
    add_lora_options(c)
    _add_out(c, "DIR")


def _add_merge(commands: Any) -> None:
    c = commands.add_parser(
        "merge-lora",
        help="a public transformer file + adapters → the same file, merged; its names stay",
    )
    c.set_defaults(run=run_merge)
    c.add_argument("base", type=pathlib.Path, metavar="FILE", help="the transformer's weights")
    add_lora_options(c, required=True)
    c.add_argument(
        "--key",
        choices=public.TRANSFORMERS,
        help="which transformer of a training file (default: the first that it has)",
    )
    _add_out(c, "FILE")


def _add_inspect(commands: Any) -> None:
    c = commands.add_parser("inspect", help="what is inside a file or folder")
    c.set_defaults(run=run_inspect)
    c.add_argument("path", type=pathlib.Path, metavar="FILE|DIR")


def _add_out(command: argparse.ArgumentParser, metavar: str, help: str | None = None) -> None:
    command.add_argument("--out", type=pathlib.Path, required=True, metavar=metavar, help=help)


def main(argv: Sequence[str]) -> None:
    """Runs one command."""
    args = parser().parse_args(argv)
    args.run(args)


def run_import(args: argparse.Namespace) -> None:
    """Public files → a checkpoint folder."""
    check_new(args.out)
    args = fetch_arguments(args)
    sources = import_sources(args)
    if args.decoder_kind and not args.decoder:
        raise InputError("--decoder-kind goes with --decoder")
    plan = checkpoints.prepare_import(
        sources,
        args.out,
        preset=find_preset(args.preset) if args.preset else None,
        tokenizer=import_tokenizer(args),
        key=args.key,
        decoder=args.decoder,
        decoder_kind=args.decoder_kind,
        lora=lora_options(args),
    )
    with byte_bar(plan.nbytes) as progress:
        checkpoints.write_plan(plan, progress)
    logging.info("%s: %s of %s", args.out, ", ".join(plan.parts), plan.preset.name)


def run_add_decoder(args: argparse.Namespace) -> None:
    """A checkpoint folder + a smaller decoder's file → another folder."""
    checkpoint = open_checkpoint(args.checkpoint)
    opened = open_decoder(local_file(args.file), args.decoder_kind, checkpoint.preset.vae)
    check_new(args.out, opened.part.nbytes)
    with byte_bar(opened.part.nbytes) as progress:
        add_part(checkpoint, opened.kind, opened.part, args.out, progress)
    logging.info("%s: with the decoder %s", args.out, opened.kind)


def run_quantize(args: argparse.Namespace) -> None:
    """A checkpoint folder → the same with the scales that 8-bit streaming wants."""
    # The stream is only needed here.
    from shotstream_jax.generate.calibrate import largest_inputs

    checkpoint = open_checkpoint(args.checkpoint)
    check_new(args.out)
    # All files are read before the model is.
    stories = [(script.global_caption, script.shots) for script in map(read_script, args.story)]
    model = load(checkpoint, dtype=args.dtype)
    found = largest_inputs(model, stories)
    add_facts(checkpoint, "dit", {LARGEST_INPUTS: found}, args.out)
    logging.info("%s: with the scales of %d stories", args.out, len(stories))


def run_copy(args: argparse.Namespace) -> None:
    """A checkpoint folder → another one."""
    checkpoint = open_checkpoint(args.checkpoint)
    parts = args.part or list(checkpoint.parts)
    # All is checked here, and read and written below.
    plan = checkpoints.prepare_copy(
        checkpoint, args.out, _TYPES[args.dtype], parts, args.shot_phase, lora_options(args)
    )
    with byte_bar(plan.nbytes) as progress:
        checkpoints.write_plan(plan, progress, args.storage)
    logging.info("%s: %s, types: %s", args.out, ", ".join(parts), args.dtype)


def run_merge(args: argparse.Namespace) -> None:
    """A public transformer file + adapters → the same file, whose other entries stay."""
    # Nothing is read until it is written.
    base = local_file(args.base)
    lora = lora_options(args)
    content = merge_file(base, lora, args.key)
    # The bar counts all weights, those that are only copied too.
    total = 0
    for value in content.values():
        if public.is_state(value):
            total += state_bytes(value)
    with byte_bar(total) as progress:
        checkpoints.write_public(content, args.out, progress, texts_after_merge(base, lora))
    logging.info("%s: merged", args.out)


def run_inspect(args: argparse.Namespace) -> None:
    """What is inside a file or folder."""
    for what, description in inspect(local_place(args.path)):
        cli.print_line(f"{what:24} {description}")


if __name__ == "__main__":
    cli.run(main)
