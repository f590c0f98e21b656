"""How fast a teacher's gradient is on this machine, and how many forward passes it costs.

    python -m benchmarks.teacher_step                      # width 192, 6 layers, 216 tokens, 16 stories, one caption
    python -m benchmarks.teacher_step --dim 128 --frames 12 --captions 7     # the miniature's own

Random weights and latents of the miniature's format, 24 tokens a frame, all parameters but the text encoder's. The
flow-matching loss by itself and with its gradient, called in turn; no optimiser, no data. FLOPs are those of matmuls,
by formula, beside what one large matmul reaches here.
"""

import argparse
import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax import cli
from shotstream_jax.bench.measure import roofline, timed_in_turn
from shotstream_jax.dit.conditions import Batch, Conditions
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.model import random_params
from shotstream_jax.presets import Preset, find_preset
from shotstream_jax.train import flops
from shotstream_jax.train.losses.flow_matching import Dropout, draw, flow_loss

CONTEXT = 3  # frames


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    numbers = {
        "dim": 192,
        "heads": 6,
        "layers": 6,
        "frames": 9,
        "captions": 1,
        "text-len": 64,
        "batch": 16,
    }
    for name, value in numbers.items():
        parser.add_argument(
            f"--{name}", type=int, default=value, metavar="N", help="(default: %(default)s)"
        )
    parser.add_argument(
        "--remat", default="dots", choices=("none", "dots", "full"), help="(default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=30, help="(default: %(default)s)")
    args = parser.parse_args()
    tiny = find_preset("tiny")
    sizes = {"dim": args.dim, "ffn_dim": 4 * args.dim, "heads": args.heads, "layers": args.layers}
    preset = dataclasses.replace(
        tiny, dit=dataclasses.replace(tiny.dit, **sizes, text_len=args.text_len)
    )
    teacher, schedule = Teacher(preset.dit, remat=args.remat), Schedule(shift=preset.steps.shift)
    params, batch = random_params(preset, 0)["dit"], make_batch(preset, args)
    draws = draw(jax.random.key(1), batch.target.shape, schedule, Dropout())
    loss = functools.partial(flow_loss, teacher, schedule)
    calls = [jax.jit(loss), jax.jit(jax.value_and_grad(loss))]
    forward, both = timed_in_turn(
        [functools.partial(call, params, batch, draws) for call in calls], args.seconds
    )
    tokens = int(np.prod(preset.dit.grid(*preset.latent_grid(preset.video))))
    memory = dataclasses.replace(preset.memory, context=CONTEXT)
    count = flops.teacher_pass(preset.dit, memory, args.frames - CONTEXT, tokens, args.captions)
    count += flops.backward(preset.dit, args.frames * tokens, count, "all")
    rate, most = args.batch * count / both.median, roofline(jnp.float32, 2).matmul
    cli.say(f"{os.cpu_count()} cores, jax {jax.__version__}; {args.frames * tokens} tokens, {args}")
    cli.say(
        f"loss {1e3 * forward.median:.0f} ms, with its gradient {1e3 * both.median:.0f} ms ({both.calls} calls each)"
    )
    cli.say(
        f"{args.batch / both.median:.1f} stories/s; backward {both.median / forward.median - 1:.1f} times forward"
    )
    cli.say(f"{rate / 1e9:.0f} GFLOP/s; a large matmul reaches {most / 1e9:.0f}")


def make_batch(preset: Preset, args: argparse.Namespace) -> Batch:
    """Stories whose context frames are of as many shots as there are captions."""
    normal = lambda i, *shape: jax.random.normal(jax.random.key(i), (args.batch, *shape))  # noqa: E731
    latent, cfg = (*preset.latent_grid(preset.video), preset.dit.channels), preset.dit
    shots = np.minimum(np.arange(CONTEXT + 1), args.captions - 1)
    ids = jnp.asarray(np.tile(shots.astype(np.int32), (args.batch, 1)))
    text = normal(2, args.captions, cfg.text_len, cfg.text_dim)
    conditions = Conditions(normal(3, CONTEXT, *latent), FrameIds(ids, ids), text)
    return Batch(normal(4, args.frames - CONTEXT, *latent), conditions)


if __name__ == "__main__":
    main()
