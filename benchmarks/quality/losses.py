"""How far the losses of runs fell, from their metrics.jsonl.

    python -m benchmarks.quality.losses out/film/teacher out/film/dmd_intra

Takes a second. Prints a line for every loss: the mean of its first and last fifth in training, and
its first and last value on the held-out clips, where the draws are the same every time (the first
one is of the start, before any step). A folder in whose place a shipped model is used has no
losses.
"""

import json
import pathlib
from collections import defaultdict
from collections.abc import Sequence

from shotstream_jax import cli


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.quality.losses", __doc__)
    p.add_argument("workdirs", nargs="+", metavar="WORKDIR", help="a training run's folder")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    for workdir in args.workdirs:
        metrics = pathlib.Path(workdir) / "metrics.jsonl"
        if not metrics.exists():
            cli.print_line(f"{workdir:24} no {metrics.name}: nothing was trained here")
            continue
        losses = read_losses(metrics)
        for name in sorted(losses):
            print_loss(workdir, name, losses[name])


def read_losses(metrics: pathlib.Path) -> dict[str, list[float]]:
    """The logged values of every loss, by its name."""
    values: dict[str, list[float]] = defaultdict(list)
    for line in metrics.read_text().splitlines():
        for name, value in json.loads(line).items():
            if name.endswith("loss"):
                values[name].append(value)
    return values


def print_loss(workdir: str, name: str, values: Sequence[float]) -> None:
    """One loss's line."""
    # Held-out values are exact, those of training steps are noisy.
    several = 1 if name.startswith("held_out") else max(1, len(values) // 5)
    first = sum(values[:several]) / several
    last = sum(values[-several:]) / several
    change = 100 * (last / first - 1)
    cli.print_line(f"{workdir:24} {name:26} {first:.4g} → {last:.4g}  ({change:+.0f} %)")


if __name__ == "__main__":
    cli.run(main)
