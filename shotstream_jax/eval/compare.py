"""Scores side by side: a table of means with 95 % intervals, and a chart of each shot's.

  python -m shotstream_jax.eval.compare out/eval/full.json out/eval/no_cache.json
  python -m shotstream_jax.eval.compare long/student.json long/teacher.json \\
      --figures appearance,layout --chart out/long.png

The files are those of `shotstream eval`; a row is named as its file is. All must be
of the same stories. The chart needs `pip install 'shotstream-jax[eval]'`.
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
from shotstream_jax.eval.report import NO_VALUE

# Name of a file without its ending → what eval has written there.
ScoreFiles = dict[str, dict[str, Any]]

# The settings that choose the stories.
_SAME_STORIES = ("stories", "shots", "subset")


def parser() -> cli.Parser:
    """The command's options."""
    p = cli.make_parser("shotstream_jax.eval.compare", __doc__)
    p.add_argument(
        "files",
        nargs="+",
        metavar="FILE.json",
        help="of shotstream eval",
    )
    p.add_argument(
        "--figures",
        default="who,where,action,appearance,layout,sca",
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
    """Prints the table, and draws the chart if one is asked for."""
    args = parser().parse_args(argv)
    names = args.figures.split(",")
    # Whatever can be refused is refused before the files are read.
    chart = None
    if args.chart:
        if not importlib.util.find_spec("matplotlib"):
            raise InputError("--chart needs matplotlib: pip install 'shotstream-jax[eval]'")
        chart = check_writable(args.chart, ".png")
    # A table always, a chart if it is asked for.
    scores = read_scores(args.files, names)
    for line in comparison_table(scores, names):
        cli.print_line(line)
    if chart:
        chart.parent.mkdir(parents=True, exist_ok=True)
        by_shot = [name for name in names if name != "sca"]  # sca is of a whole story
        draw_chart(scores, by_shot, chart)
        cli.print_line(str(chart))


def read_scores(files: Sequence[str], names: Sequence[str]) -> ScoreFiles:
    """The content of each file.

    Raises InputError if one is not eval's, lacks a figure, or is of other stories.
    """
    scores: ScoreFiles = {}
    stories_of_first = None
    for file in files:
        path = pathlib.Path(file)
        found = _read_file(path, names)
        # A file's name is its row's.
        if path.stem in scores:
            raise InputError(
                f"two files are called {path.stem}: rename one, or its row could not be told apart"
            )
        stories = _stories_of(found)
        if stories_of_first is None:
            stories_of_first = stories
        if stories != stories_of_first:
            raise InputError(
                f"{path} and {files[0]} were made of different stories ({', '.join(_SAME_STORIES)})"
            )
        scores[path.stem] = found
    return scores


def _read_file(path: pathlib.Path, names: Sequence[str]) -> dict[str, Any]:
    """One file that has these figures."""
    # Whatever another file lacks or has in another form.
    try:
        found = json.loads(path.read_text("utf-8"))
        _stories_of(found)
        lacking = [name for name in names if name not in found["stories"][0]]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path} is not a file of shotstream eval ({error})") from None
    if lacking:
        raise InputError(f"{path} has no figure {lacking[0]}; it has {', '.join(found['figures'])}")
    return found


def _stories_of(found: dict[str, Any]) -> list[Any]:
    """The settings that choose the stories of a file."""
    return [found["settings"][name] for name in _SAME_STORIES]


def comparison_table(scores: ScoreFiles, names: Sequence[str]) -> list[str]:
    """Markdown: a row for each file; below, chance and ceiling of the first one."""
    head = ["", *names]
    rule = ["---"] * len(head)
    rows = [head, rule]

    # A row for each file.
    for stem, found in scores.items():
        row = [stem]
        for name in names:
            row.append(_with_interval(found["figures"].get(name)))
        rows.append(row)

    # What the first file says of chance and of the ceiling; the stories are the same.
    first = next(iter(scores.values()))
    rows.append(["*chance*", *_cells(first["figures"], names, "chance")])
    if first["ceiling"]:
        rows.append(["*ceiling*", *_cells(first["ceiling"], names, "mean")])

    lines = []
    for row in rows:
        cells = " | ".join(row)
        lines.append(f"| {cells} |")
    return lines


def _with_interval(found: dict[str, float] | None) -> str:
    if not found:
        return NO_VALUE
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _cells(
    summary: dict[str, Any],
    names: Sequence[str],
    key: str,
) -> list[str]:
    """One value of each figure: key is `mean` or `chance`."""
    cells = []
    for name in names:
        value = summary.get(name, {}).get(key)
        cells.append(NO_VALUE if value is None else f"{value:.3f}")
    return cells


def intervals_by_shot(found: dict[str, Any], name: str) -> np.ndarray:
    """Mean, low and high of each shot, [shots, 3].

    NaN where nothing can be judged, as what persists in the first shot.
    """
    of_stories = [story[name] for story in found["stories"]]
    values = np.array(of_stories, np.float64)  # [stories, shots]; null becomes NaN
    # Each shot's own bootstrap.
    intervals = []
    for of_one_shot in values.T:
        intervals.append(_interval(of_one_shot))
    return np.array(intervals)


def _interval(column: np.ndarray) -> tuple[float, float, float]:
    if np.isnan(column).all():
        return np.nan, np.nan, np.nan
    interval = bootstrap(column[:, None])  # stories with one shot each
    return interval.value, interval.low, interval.high


def draw_chart(
    scores: ScoreFiles,
    names: Sequence[str],
    path: pathlib.Path,
) -> None:
    """A panel for each figure: its mean by shot, the interval shaded, chance dotted."""
    from matplotlib.figure import Figure  # an extra of this package

    figure = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _draw_panel(axes, scores, name)
    # All panels have the same lines: one legend says what they are.
    lines, labels = panels[-1].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=len(labels))
    figure.savefig(path, dpi=110)


def _draw_panel(
    axes: Any,
    scores: ScoreFiles,
    name: str,
) -> None:
    """One figure of all files on matplotlib's axes."""
    # A line with its interval for each file.
    for number, (stem, found) in enumerate(scores.items()):
        mean, low, high = intervals_by_shot(found, name).T
        shots = np.arange(1, len(mean) + 1)
        color = f"C{number}"  # of matplotlib's cycle
        axes.plot(shots, mean, color, label=stem)
        axes.fill_between(
            shots,
            low,
            high,
            color=color,
            alpha=0.2,
            linewidth=0,
        )
    # Chance, as the first file says it.
    first = next(iter(scores.values()))
    chance = first["figures"].get(name, {}).get("chance")
    if chance:
        axes.axhline(chance, color="grey", linestyle=":", label="chance")
    axes.set(
        title=name,
        xlabel="shot",
        ylim=(0, 1.02),
        xlim=(1, first["settings"]["shots"]),
    )
    axes.locator_params(axis="x", integer=True)


if __name__ == "__main__":
    cli.run(main)
