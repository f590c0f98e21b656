"""How far the losses of runs fell, from their metrics.jsonl.

    python benchmarks/losses.py out/film/teacher out/film/dmd_intra

A line for every loss: the mean of its first and last fifth in training, and its first and last value on the held-out
clips, where the draws are the same every time (the first one is of the start, before any step). A folder that a shipped
model stands in for has no losses.
"""

import json
import pathlib
import sys
from collections import defaultdict


def main() -> None:
    for workdir in sys.argv[1:]:
        values, metrics = defaultdict(list), pathlib.Path(workdir) / "metrics.jsonl"
        if not metrics.exists():
            sys.stdout.write(f"{workdir:24} no {metrics.name}: nothing was trained here\n")
            continue
        for line in metrics.read_text().splitlines():
            for name, value in json.loads(line).items():
                if name.endswith("loss"):
                    values[name].append(value)
        for name, found in sorted(values.items()):
            fifth = 1 if name.startswith("held_out") else max(1, len(found) // 5)
            first, last = (sum(part) / fifth for part in (found[:fifth], found[-fifth:]))
            sys.stdout.write(
                f"{workdir:24} {name:26} {first:.4g} → {last:.4g}  ({100 * (last / first - 1):+.0f} %)\n"
            )


if __name__ == "__main__":
    main()
