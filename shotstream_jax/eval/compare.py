"""Scores side by side: a table of means with 95 % intervals, and a picture of what is kept from shot to shot.

  python -m shotstream_jax.eval.compare out/eval/full.json out/eval/no_cache.json
  python -m shotstream_jax.eval.compare long/student.json long/teacher.json --figures look,layout --chart out/long.png

The files are those of `python -m shotstream_jax.eval`; a row is named as its file is. All must be of the same stories.
The chart needs `pip install 'shotstream-jax[eval]'`.
"""

import importlib.util
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import check_writable
from shotstream_jax.eval.metrics import bootstrap

Scores = dict[str, dict[str, Any]]  # of each file: what eval has written
_SAME = ("stories", "shots", "subset")  # settings that choose the stories


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.eval.compare", __doc__)
    p.add_argument("files", nargs="+", metavar="FILE.json", help="of python -m shotstream_jax.eval")
    p.add_argument(
        "--figures",
        default="who,where,action,look,layout,sca",
        metavar="A,B",
        help="to show (default: %(default)s)",
    )
    p.add_argument(
        "--chart",
        metavar="FILE.png",
        help="each figure by the number of the shot, with its interval",
    )
    return p


def main(argv: Sequence[str]) -> None:
    args = parser().parse_args(argv)
    names = args.figures.split(",")
    if args.chart and not importlib.util.find_spec("matplotlib"):
        raise InputError("--chart needs matplotlib: pip install 'shotstream-jax[eval]'")
    chart = check_writable(args.chart, ".png") if args.chart else None
    scores = read_scores(args.files, names)
    for line in table(scores, names):
        cli.say(line)
    if chart:
        chart.parent.mkdir(parents=True, exist_ok=True)
        draw(scores, [name for name in names if name != "sca"], chart)  # sca is of a whole story
        cli.say(str(chart))


def read_scores(files: Sequence[str], names: Sequence[str]) -> Scores:
    """What each file says, by its stem. Raises InputError if it is not eval's, or not of the same stories."""
    scores: Scores = {}
    for path in map(pathlib.Path, files):
        try:
            found = json.loads(path.read_text("utf-8"))
            settings = [found["settings"][name] for name in _SAME]
            lacking = [name for name in names if name not in found["stories"][0]]
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(
                f"{path} is not a file of python -m shotstream_jax.eval ({error})"
            ) from None
        if lacking:
            raise InputError(
                f"{path} has no figure {lacking[0]}; it has {', '.join(found['figures'])}"
            )
        if path.stem in scores:
            raise InputError(
                f"two files are called {path.stem}: rename one, or its row could not be told apart"
            )
        first = next(iter(scores.values()), found)
        if settings != [first["settings"][name] for name in _SAME]:
            raise InputError(
                f"{path} and {files[0]} were made of different stories ({', '.join(_SAME)})"
            )
        scores[path.stem] = found
    return scores


def table(scores: Scores, names: Sequence[str]) -> list[str]:
    """Markdown: a row a file; below, chance and ceiling of the first one."""
    first = next(iter(scores.values()))
    rows = [
        [stem, *(_with_interval(found["figures"].get(name)) for name in names)]
        for stem, found in scores.items()
    ]
    rows.append(
        ["*chance*", *(_mean(first["figures"].get(name, {}).get("chance")) for name in names)]
    )
    if first["ceiling"]:
        rows.append(
            ["*ceiling*", *(_mean(first["ceiling"].get(name, {}).get("mean")) for name in names)]
        )
    return [_line(row) for row in [["", *names], ["---"] * (len(names) + 1), *rows]]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _with_interval(found: dict[str, float] | None) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})" if found else "–"


def _mean(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def by_shot(found: dict[str, Any], name: str) -> np.ndarray:
    """Of each shot: mean, low, high, [shots, 3]; NaN where nothing can be judged, as memory in the first one."""
    values = np.array([story[name] for story in found["stories"]], np.float64)  # null becomes NaN
    return np.array([_interval(column) for column in values.T])


def _interval(column: np.ndarray) -> tuple[float, float, float]:
    if np.isnan(column).all():
        return (np.nan,) * 3
    about = bootstrap(column[:, None])
    return about.value, about.low, about.high


def draw(scores: Scores, names: Sequence[str], path: pathlib.Path) -> None:
    """A panel a figure: its mean by shot, the interval shaded, chance dotted."""
    from matplotlib.figure import Figure  # not installed where nobody draws

    figure = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for color, (stem, found) in enumerate(scores.items()):
            mean, low, high = by_shot(found, name).T
            shots = np.arange(1, len(mean) + 1)
            axes.plot(shots, mean, f"C{color}", label=stem)
            axes.fill_between(shots, low, high, color=f"C{color}", alpha=0.2, linewidth=0)
        if chance := next(iter(scores.values()))["figures"].get(name, {}).get("chance"):
            axes.axhline(chance, color="grey", linestyle=":", label="chance")
        axes.set(title=name, xlabel="shot", ylim=(0, 1.02), xlim=(1, len(shots)))
        axes.locator_params(axis="x", integer=True)
    lines, labels = axes.get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    cli.run(main)
