"""How many frames of the drawn world one core makes in a second.

    python benchmarks/world.py

Ten stories each, on one thread; the processor time of this process is counted, so neighbours disturb less.
"""

import sys
import time

from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource


def main() -> None:
    for subset, height, width in (
        ("full", 64, 96),
        ("full", 480, 832),
        ("simple", 32, 48),
        ("simple", 48, 64),
    ):
        source = WorldSource(WorldConfig(subset), height, width, stories=10 if height < 100 else 1)
        began = time.process_time()
        frames = sum(len(source[index].frames) for index in range(len(source)))
        rate = frames / (time.process_time() - began)
        sys.stdout.write(f"{subset:8}{height:4}×{width:<4}{frames:6} frames{rate:8.0f} frames/s\n")


if __name__ == "__main__":
    main()
