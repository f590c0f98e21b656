"""A checkpoint of a preset's sizes with fresh weights: what a chain of training begins with.

  python -m shotstream_jax.train.fresh --preset tiny-64x96 --out out/mini/start

Its tokeniser is the shipped miniature's.
"""

import functools
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.save import save
from shotstream_jax.core import rng
from shotstream_jax.model import PARTS, Model, init_part
from shotstream_jax.presets import PRESETS, find_preset


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("shotstream_jax.train.fresh", __doc__)
    p.add_argument("--preset", required=True, choices=list(PRESETS), help="the sizes")
    p.add_argument("--out", required=True, metavar="DIR", help="the checkpoint's folder")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    """Writes the checkpoint. Raises InputError if the folder exists."""
    args = parser().parse_args(argv)
    save(fresh_model(args.preset, args.seed), pathlib.Path(args.out))
    cli.print_line(args.out)


def fresh_model(preset_name: str, seed: int) -> Model:
    """A model of a preset's sizes, its weights as training from nothing begins with them."""
    preset = find_preset(preset_name)
    key = rng.seed_key(seed)
    params = {}
    for number, part in enumerate(PARTS):
        init = jax.jit(functools.partial(init_part, preset, part))
        params[part] = init(rng.stream(key, "init", number))
    return Model(
        preset=preset,
        params=params,
        tokenizer=open_checkpoint("tiny").tokenizer(),
        dtype=jnp.float32,
        origin=f"fresh {preset_name}",
    )


if __name__ == "__main__":
    cli.run(main)
