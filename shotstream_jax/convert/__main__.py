"""Public checkpoints into JAX and back, one tensor at a time.

  python -m shotstream_jax.convert import --wan Wan2.1-T2V-1.3B --shotstream shotstream_merged.pt --out ckpt/shotstream
  python -m shotstream_jax.convert inspect ckpt/shotstream
  python -m shotstream_jax.convert export ckpt/shotstream --part dit --out shotstream.pt
  python -m shotstream_jax.convert copy out/tiny/dmd_inter/model --dtype float16 --out ckpt/tiny
  python -m shotstream_jax.convert merge-lora base.pt --lora lora.pt --alpha 256 --out merged.pt

`import` reads .safetensors (also sharded, by its index), .pt and .pth files, without PyTorch, and the …-Diffusers
layout. Nothing in a file is ever executed. An interrupted import or export leaves nothing under the final name.
"""

import argparse
import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from absl import logging
from tqdm import tqdm

from shotstream_jax import cli
from shotstream_jax.checkpoint import folder as native
from shotstream_jax.convert import checkpoints, public
from shotstream_jax.convert.inspect import inspect
from shotstream_jax.convert.rules import state_bytes
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import PARTS
from shotstream_jax.presets import find_preset

# Where a Wan folder keeps its parts; the first name that is there.
_WAN = {
    "dit": tuple(
        f"{folder}diffusion_pytorch_model.safetensors{index}"
        for folder in ("", "transformer/")  # the second in the …-Diffusers layout
        for index in ("", ".index.json")
    ),
    "vae": ("Wan2.1_VAE.pth",),
    "text": ("models_t5_umt5-xxl-enc-bf16.pth",),
}
_TYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(jnp.bfloat16),
    "float32": np.dtype(np.float32),
}
_TOKENIZERS = ("google/umt5-xxl/tokenizer.json", "tokenizer/tokenizer.json")


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.convert", __doc__)
    commands = p.add_subparsers(dest="command", required=True)
    path = pathlib.Path

    c = commands.add_parser("import", help="public files → a checkpoint folder")
    c.add_argument(
        "--wan", type=path, metavar="DIR", help="a Wan 2.1 folder: every part that it has"
    )
    c.add_argument(
        "--shotstream", type=path, metavar="FILE", help="the transformer, in place of Wan's"
    )
    c.add_argument("--vae", type=path, metavar="FILE", help="the autoencoder alone")
    c.add_argument("--text-encoder", type=path, metavar="FILE", help="the text encoder alone")
    c.add_argument("--tokenizer", type=path, metavar="FILE", help="its tokenizer.json")
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
    c.add_argument("--out", type=path, required=True, metavar="DIR")

    c = commands.add_parser("export", help="a part of a checkpoint folder → a public file")
    c.add_argument("checkpoint", type=path, metavar="DIR")
    c.add_argument("--part", choices=PARTS, default="dit")
    c.add_argument(
        "--key", choices=public.TRANSFORMERS, help="the name in a .pt file (default: generator)"
    )
    c.add_argument("--lora", type=path, metavar="FILE", help="an adapter to merge on the way")
    c.add_argument("--alpha", type=float, help="its alpha (default: its rank)")
    c.add_argument(
        "--out", type=path, required=True, metavar="FILE", help=".pt, .pth or .safetensors"
    )

    c = commands.add_parser(
        "copy", help="a checkpoint folder → another one, in fewer bits or with some parts only"
    )
    c.add_argument("checkpoint", type=path, metavar="DIR")
    c.add_argument(
        "--dtype",
        choices=_TYPES,
        default="float16",
        help="of what is stored (default: %(default)s)",
    )
    c.add_argument(
        "--part", choices=PARTS, action="append", help="again for another one (default: all)"
    )
    c.add_argument(
        "--shot-phase",
        type=float,
        metavar="RADIANS",
        help="between shots from now on; 0 for none (an ablation)",
    )
    c.add_argument("--out", type=path, required=True, metavar="DIR")

    c = commands.add_parser(
        "merge-lora", help="a public transformer file + an adapter → the same file, merged"
    )
    c.add_argument("base", type=path, metavar="FILE")
    c.add_argument("--lora", type=path, required=True, metavar="FILE")
    c.add_argument("--lora-key", default="generator_lora", choices=public.LORAS)
    c.add_argument("--key", default="generator", choices=public.TRANSFORMERS)
    c.add_argument("--rank", type=int, help="refuse an adapter of another rank")
    c.add_argument("--alpha", type=float, help="the adapter's alpha (default: its rank)")
    c.add_argument("--out", type=path, required=True, metavar="FILE")

    c = commands.add_parser("inspect", help="what is inside a file or folder")
    c.add_argument("path", type=path, metavar="FILE|DIR")
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    {
        "import": run_import,
        "export": run_export,
        "copy": run_copy,
        "merge-lora": run_merge,
        "inspect": run_inspect,
    }[args.command](args)


def run_import(args: argparse.Namespace) -> None:
    sources, tokenizer = _sources(args)
    preset = find_preset(args.preset) if args.preset else None
    plan = checkpoints.prepare_import(
        sources, args.out, preset=preset, tokenizer=tokenizer, key=args.key
    )
    with _bar(plan.nbytes) as progress:
        checkpoints.write_import(plan, progress)
    logging.info("%s: %s of %s", args.out, ", ".join(sources), plan.preset.name)


def _sources(args: argparse.Namespace) -> tuple[dict[str, pathlib.Path], pathlib.Path | None]:
    """Each part's file, and the tokeniser's."""
    if args.wan and not args.wan.is_dir():
        raise InputError(f"there is no Wan folder {args.wan}")
    found = {}
    if args.wan:
        present = {
            part: [args.wan / name for name in names if (args.wan / name).is_file()]
            for part, names in _WAN.items()
        }
        found = {part: paths[0] for part, paths in present.items() if paths}
    given = {"dit": args.shotstream, "vae": args.vae, "text": args.text_encoder}
    found |= {part: path for part, path in given.items() if path}
    if args.key and "dit" not in found:
        raise InputError("--key chooses a transformer: give --shotstream or --wan")
    if not found:
        raise InputError("nothing to import: give --wan, --shotstream, --vae or --text-encoder")
    there = (
        [args.wan / name for name in _TOKENIZERS if (args.wan / name).is_file()] if args.wan else []
    )
    tokenizer = args.tokenizer or (there[0] if there else None)
    return {part: found[part] for part in PARTS if part in found}, tokenizer


def run_export(args: argparse.Namespace) -> None:
    if args.part != "dit" and (args.lora or args.key):
        raise InputError(f"--lora and --key go with --part dit, not {args.part}")
    if args.key and args.out.suffix == ".safetensors":
        raise InputError(
            "--key names the transformer in a .pt file; a .safetensors file has no such name"
        )
    if args.alpha and not args.lora:
        raise InputError("--alpha goes with --lora")
    _, state = checkpoints.open_native(args.checkpoint, args.part)
    if args.lora:
        state = checkpoints.merge(state, public.open_lora(args.lora), args.alpha)
    with _bar(state_bytes(state)) as progress:
        checkpoints.export_part(
            state, args.part, args.out, key=args.key or "generator", progress=progress
        )
    logging.info("%s: %s, %d tensors", args.out, args.part, len(state))


def run_copy(args: argparse.Namespace) -> None:
    parts = args.part or list(native.read_config(args.checkpoint)["parts"])
    plan = checkpoints.prepare_copy(
        args.checkpoint, args.out, _TYPES[args.dtype], parts, args.shot_phase
    )
    with _bar(plan.nbytes) as progress:
        checkpoints.write_import(plan, progress)
    logging.info("%s: %s in %s", args.out, ", ".join(parts), args.dtype)


def run_merge(args: argparse.Namespace) -> None:
    """The file's other entries stay as they are; the transformer gets the plain names."""
    content = public.open_file(args.base)
    lora = public.open_lora(args.lora, args.lora_key)
    if public.is_state(content.get(args.key)):
        merged = checkpoints.merge(
            public.plain_names(content[args.key]), lora, args.alpha, args.rank
        )
        content = content | public.wrapped(merged, args.key)
    elif "" in content:
        content = content | {
            "": checkpoints.merge(public.plain_names(content[""]), lora, args.alpha, args.rank)
        }
    else:
        raise InputError(f"{args.base} holds no {args.key}: it has {', '.join(map(repr, content))}")
    total = sum(state_bytes(s) for s in content.values() if public.is_state(s))
    with _bar(total) as progress:
        checkpoints.write_public(content, args.out, progress)
    logging.info("%s: merged", args.out)


def run_inspect(args: argparse.Namespace) -> None:
    for what, description in inspect(args.path):
        cli.say(f"{what:24} {description}")


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], object]]:
    """A progress bar in bytes; gives the function that moves it."""
    with tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        yield bar.update


if __name__ == "__main__":
    cli.run(main)
