"""How many frames of the drawn world one core makes in a second.

    python -m benchmarks.speed.draw_world

Takes about a minute. Draws ten stories of each format (one of the large one) on one thread and
prints frames a second of this process's processor time, which other programs disturb less than the
clock's.
"""

import time
from collections.abc import Sequence

from shotstream_jax import cli
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource

# (subset of the world, height, width, stories)
FORMATS = (
    ("full", 64, 96, 10),
    ("full", 480, 832, 1),
    ("simple", 32, 48, 10),
    ("simple", 48, 64, 10),
)


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    cli.make_parser("benchmarks.speed.draw_world", __doc__).parse_args(argv)
    for subset, height, width, stories in FORMATS:
        source = WorldSource(WorldConfig(subset), height, width, stories=stories)
        began = time.process_time()
        frames = 0
        for index in range(len(source)):
            frames += len(source[index].frames)
        rate = frames / (time.process_time() - began)
        cli.print_line(f"{subset:8}{height:4}×{width:<4}{frames:6} frames{rate:8.0f} frames/s")


if __name__ == "__main__":
    cli.run(main)
