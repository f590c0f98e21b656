"""How fast a teacher's gradient is on this machine, and how many forward passes it costs.

    python -m benchmarks.speed.teacher_step           # width 192, 6 layers, 216 tokens, 16 stories
    python -m benchmarks.speed.teacher_step --dim 128 --heads 4 --frames 12 --captions 7 \\
        --text-len 48                                 # the tiny preset's own

Random weights and latents of the tiny preset's format, 24 tokens a frame, all parameters but the
text encoder's: the flow-matching loss by itself and with its gradient, called in turn; no
optimiser, no data (`shotstream bench --parts teacher` times a recipe's whole step).
FLOPs are those of matmuls, by formula, beside what one large matmul reaches here. Takes a minute.
Prints the times of both, stories a second, backward over forward, and the FLOP rate.
"""

import argparse
import dataclasses
import functools
import math
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax import cli
from shotstream_jax.bench.measure import measure_roofline, timed_in_turn
from shotstream_jax.data.rows import ShotBatch
from shotstream_jax.dit.conditions import Conditions, Dropout
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.model import random_params
from shotstream_jax.presets import Preset, find_preset
from shotstream_jax.train import flops
from shotstream_jax.train.losses.flow_matching import draw_flow, flow_loss

CONTEXT = 3  # frames
DEFAULTS = {
    "dim": 192,
    "heads": 6,
    "layers": 6,
    "frames": 9,
    "captions": 1,
    "text-len": 64,
    "batch": 16,
}


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.speed.teacher_step", __doc__)
    for name, value in DEFAULTS.items():
        p.add_argument(
            f"--{name}",
            type=int,
            default=value,
            metavar="N",
            help="(default: %(default)s)",
        )
    p.add_argument(
        "--remat",
        default="dots",
        choices=("none", "dots", "full"),
        help="what is computed again in the backward pass (default: %(default)s)",
    )
    p.add_argument(
        "--seconds",
        type=float,
        default=30,
        metavar="S",
        help="of timing (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    preset = make_preset(args)
    teacher = Teacher(preset.dit, remat=args.remat)
    schedule = Schedule(shift=preset.steps.shift)
    params = random_params(preset, 0)["dit"]
    batch = make_batch(preset, args)
    draws = draw_flow(jax.random.key(1), batch.target.shape, schedule, Dropout())
    loss = functools.partial(flow_loss, teacher, schedule)
    inputs = (params, batch.target, batch.conditions, draws)
    loss_alone = functools.partial(jax.jit(loss), *inputs)
    with_gradient = functools.partial(jax.jit(jax.value_and_grad(loss)), *inputs)
    forward, both = timed_in_turn([loss_alone, with_gradient], args.seconds)

    # FLOPs of a story, forward and backward.
    tokens = math.prod(preset.dit.grid(*preset.latent_grid(preset.video)))
    memory = dataclasses.replace(preset.memory, context=CONTEXT)
    count = flops.teacher_flops(preset.dit, memory, args.frames - CONTEXT, tokens, args.captions)
    count += flops.backward_flops(preset.dit, args.frames * tokens, count, "all")
    rate = args.batch * count / both.median
    most = measure_roofline(jnp.float32, 2).matmul
    cli.print_line(
        f"{os.cpu_count()} cores, jax {jax.__version__}; {args.frames * tokens} tokens, {args}"
    )
    cli.print_line(
        f"loss {1e3 * forward.median:.0f} ms, "
        f"with its gradient {1e3 * both.median:.0f} ms ({both.calls} calls each)"
    )
    backward = both.median / forward.median - 1
    cli.print_line(
        f"{args.batch / both.median:.1f} stories/s; backward {backward:.1f} times forward"
    )
    cli.print_line(f"{rate / 1e9:.0f} GFLOP/s; a large matmul reaches {most / 1e9:.0f}")


def make_preset(args: argparse.Namespace) -> Preset:
    """The tiny preset with a transformer of the options' sizes."""
    tiny = find_preset("tiny")
    dit = dataclasses.replace(
        tiny.dit,
        dim=args.dim,
        ffn_dim=4 * args.dim,
        heads=args.heads,
        layers=args.layers,
        text_len=args.text_len,
    )
    return dataclasses.replace(tiny, dit=dit)


def make_batch(preset: Preset, args: argparse.Namespace) -> ShotBatch:
    """Stories whose context frames are of as many shots as there are captions."""
    cfg = preset.dit
    latent = (*preset.latent_grid(preset.video), cfg.channels)

    def normal(seed: int, *shape: int) -> jax.Array:
        """Numbers from N(0, 1) for every story of the batch."""
        return jax.random.normal(jax.random.key(seed), (args.batch, *shape))

    # Context frames and the target: of as many shots as there are captions, the last ones of the
    # last.
    shots = np.minimum(np.arange(CONTEXT + 1), args.captions - 1).astype(np.int32)
    ids = jnp.asarray(np.tile(shots, (args.batch, 1)))
    conditions = Conditions(
        normal(3, CONTEXT, *latent),
        FrameIds(ids, ids),
        normal(2, args.captions, cfg.text_len, cfg.text_dim),
    )
    return ShotBatch(normal(4, args.frames - CONTEXT, *latent), conditions)


if __name__ == "__main__":
    cli.run(main)
