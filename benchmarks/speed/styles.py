"""What adapters beside the transformer cost a chunk.

    python -m benchmarks.speed.styles --rounds 30

Streams the same shot of four chunks (tiny, seed 1) with the bare model and with one random adapter
in 1, 2 and 4 slots of rank 16, in turns, frames on the host after every chunk. Prints a line for
each: the median and the least seconds a chunk, and the median of the rounds' ratios to the bare
model with its 95 % interval (bootstrap over rounds). Below, by formula, the share of operations
that a slot adds to a late chunk's pass at other sizes. A processor that does other work beside it
shows more; takes a minute or two.
"""

import argparse
import time
from collections.abc import Sequence

import jax
import numpy as np

from shotstream_jax import cli
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.dit.lora import abstract_lora
from shotstream_jax.dit.styles import Style
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.live import advance, begin
from shotstream_jax.generate.stream import new_story
from shotstream_jax.model import Model, abstract_params
from shotstream_jax.presets import Preset, find_preset
from shotstream_jax.styles import with_styles
from shotstream_jax.train.flops import forward_flops

CHUNKS = 4
SLOTS = (1, 2, 4)
RESAMPLED = 10_000


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.speed.styles", __doc__)
    p.add_argument("--rounds", type=int, default=30, metavar="N", help="default: %(default)s")
    p.add_argument("--rank", type=int, default=16, metavar="N", help="default: %(default)s")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    args: argparse.Namespace = parser().parse_args(argv)
    use_persistent_cache()
    bare = load("tiny")
    style = random_style(bare.preset, args.rank)
    models = {"bare": bare}
    for slots in SLOTS:
        models[f"{slots} × rank {args.rank}"] = with_styles(bare, [style], slots=slots)
    # 1. Every model once, so that all is compiled; then all in turns.
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for measured in range(args.rounds + 1):
        for name, model in models.items():
            took = chunk_seconds(model)
            if measured:
                seconds[name].append(took)
    # 2. What was measured, and what would be at other sizes.
    cli.print_line(f"{'slots':14}{'median ms':>10}{'least ms':>10}   cost (95 %)")
    for name, values in seconds.items():
        print_row(name, np.array(values), np.array(seconds["bare"]))
    for size in ("tiny", "wan-1.3b", "wan-14b"):
        share = added_share(find_preset(size), args.rank)
        cli.print_line(f"{size}: one slot adds {share:.2%} of a pass's operations")


def random_style(preset: Preset, rank: int) -> Style:
    """An adapter of random values on every matrix of the blocks."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        """One factor."""
        return rng.normal(0, 0.02, leaf.shape).astype(np.float32)

    factors = jax.tree.map(draw, abstract_lora(abstract_params(preset, "dit"), rank))
    return Style("random", "random", factors)


def chunk_seconds(model: Model) -> float:
    """Seconds of a chunk of one shot, from its prefill on."""
    story = new_story(model, "A cartoon about a green frog.", seed=1)
    shot = Shot("The frog is dancing in the meadow.", frames=CHUNKS * model.preset.memory.chunk)
    live = begin(model, story, shot)
    jax.block_until_ready(live.caches)
    began = time.perf_counter()
    while not live.is_finished:
        live, chunk = advance(model, live)
        np.asarray(chunk.pixels)  # waits for the frames
    return (time.perf_counter() - began) / CHUNKS


def print_row(name: str, seconds: np.ndarray, bare: np.ndarray) -> None:
    """One model's line."""
    ratios = seconds / bare - 1
    rng = np.random.default_rng(0)
    drawn = rng.choice(ratios, (RESAMPLED, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    cli.print_line(
        f"{name:14}{1e3 * np.median(seconds):>10.1f}{1e3 * seconds.min():>10.1f}"
        f"   {np.median(ratios):+.1%} ({low:+.1%} … {high:+.1%})"
    )


def added_share(preset: Preset, rank: int) -> float:
    """The operations of one slot, as a share of a pass over a chunk that sees the most frames."""
    cfg = preset.dit
    height, width = preset.latent_grid(preset.video)
    rows, columns = cfg.grid(height, width)
    tokens = preset.memory.chunk * rows * columns
    # In every layer and for each token: six square matrices, and the two of the MLP.
    widths = 6 * 2 * cfg.dim + 2 * (cfg.dim + cfg.ffn_dim)
    added = cfg.layers * tokens * 2 * rank * widths
    keys = preset.memory.frames * rows * columns
    return added / forward_flops(cfg, tokens, keys, slots=0)


if __name__ == "__main__":
    cli.run(main)
