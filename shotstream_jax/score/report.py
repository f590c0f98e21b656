"""Scored films → means with 95 % intervals, beside the paper's; JSON, Markdown and a page."""

import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from shotstream_jax.core.files import write_json, write_whole
from shotstream_jax.eval.metrics import ConfidenceInterval, bootstrap
from shotstream_jax.eval.report import NO_VALUE, as_json
from shotstream_jax.score.figures import FIGURES
from shotstream_jax.score.judge import ScoredFilm
from shotstream_jax.score.paper import OURS, PAPER

HEAD = ("figure", "mean", "95 %", "films", f"paper, {OURS}", "paper, others")

_NOT_SCORED = "not scored"
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:left;
border-bottom:1px solid #ddd}.line{position:relative;height:1.4em;background:#eee;min-width:24em}
.line i{position:absolute;top:0;bottom:50%;width:2px;background:#06c}
.line b{position:absolute;top:50%;bottom:0;width:2px;background:#a30}small{color:#666}
"""


class FigureRow(NamedTuple):
    """A figure of all films. films: how many have it."""

    name: str
    interval: ConfidenceInterval
    films: int


def summarise_films(scored: Sequence[ScoredFilm]) -> list[FigureRow]:
    """Means over all shots of all films, in the order of the paper's table.

    The intervals draw whole films with replacement. A figure that no film has is left out.
    """
    rows = []
    for name in FIGURES:
        # The films in which something could be judged.
        of_films = []
        for film in scored:
            values = film.figures.get(name)
            if values is not None and np.isfinite(values).any():
                of_films.append(values)
        if not of_films:
            continue
        # As many columns as the longest film has shots.
        longest = max(map(len, of_films))
        table = np.full((len(of_films), longest), np.nan)
        for row, values in enumerate(of_films):
            table[row, : len(values)] = values
        rows.append(FigureRow(name, bootstrap(table), len(of_films)))
    return rows


def table_rows(rows: Sequence[FigureRow]) -> list[tuple[str, ...]]:
    """The cells below HEAD: the paper's nine figures, also those that lack weights; then others."""
    by_name = {row.name: row for row in rows}
    cells: list[tuple[str, ...]] = []
    for name in FIGURES:
        if name not in by_name:
            if name in PAPER[OURS]:
                cells.append((FIGURES[name].title, _NOT_SCORED, NO_VALUE, "0", *_paper_cells(name)))
            continue
        row = by_name[name]
        interval = row.interval
        between = NO_VALUE
        # One film alone has no interval.
        if row.films > 1:
            between = f"{interval.low:.3f} to {interval.high:.3f}"
        cells.append(
            (
                FIGURES[name].title,
                f"{interval.value:.3f}",
                between,
                str(row.films),
                *_paper_cells(name),
            )
        )
    return cells


def _paper_cells(name: str) -> tuple[str, str]:
    """The paper's own value, and the least and most of the others'."""
    if name not in PAPER[OURS]:
        return NO_VALUE, NO_VALUE
    others = []
    for method, values in PAPER.items():
        if method != OURS:
            others.append(values[name])
    return f"{PAPER[OURS][name]:.3f}", f"{min(others):.3f} to {max(others):.3f}"


def markdown_table(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with HEAD."""
    lines = []
    for row in (HEAD, ["---"] * len(HEAD), *cells):
        lines.append(f"| {' | '.join(row)} |")
    return lines


def write_reports(
    out: pathlib.Path,
    scored: Sequence[ScoredFilm],
    rows: Sequence[FigureRow],
    settings: Mapping[str, Any],
) -> None:
    """Writes report.json, report.md and report.html in a folder. Raises OSError.

    settings: what made the figures, and which films could not be scored.
    """
    out.mkdir(parents=True, exist_ok=True)
    cells = table_rows(rows)
    figures = {}
    for row in rows:
        interval = row.interval
        entry: dict[str, Any] = {
            "mean": interval.value,
            "count": interval.count,
            "films": row.films,
        }
        if row.films > 1:
            entry |= {"low": interval.low, "high": interval.high}
        figures[row.name] = entry | FIGURES[row.name]._asdict()
    content = {
        "settings": dict(settings),
        "figures": figures,
        "paper": PAPER,
        "films": [film.as_json() for film in scored],
    }
    write_json(out / "report.json", as_json(content))
    write_whole(out / "report.md", _markdown(cells, rows, settings).encode())
    write_whole(out / "report.html", _page(cells, rows, scored, settings).encode())


def _notes(rows: Sequence[FigureRow], settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands below the table: where figures come from, and what made them."""
    notes = []
    for row in rows:
        figure = FIGURES[row.name]
        notes.append((figure.title, figure.source))
    for name, value in settings.items():
        notes.append((name, str(value)))
    notes.append(("paper", "arXiv:2603.25746v1, Table 1, quoted: other stories than these"))
    return notes


def _markdown(
    cells: Sequence[Sequence[str]], rows: Sequence[FigureRow], settings: Mapping[str, Any]
) -> str:
    lines = ["# Scores", "", *markdown_table(cells), ""]
    for name, text in _notes(rows, settings):
        lines.append(f"- {name}: {text}")
    return "\n".join(lines) + "\n"


def _page(
    cells: Sequence[Sequence[str]],
    rows: Sequence[FigureRow],
    scored: Sequence[ScoredFilm],
    settings: Mapping[str, Any],
) -> str:
    """One file without anything from elsewhere."""
    body = [f"<h1>Scores</h1>{_html_table([HEAD, *cells])}<h2>Films</h2><table>"]
    body.append("<tr><th>film<th>frames<th>SCA<th>cuts: asked for above, found below")
    for film in scored:
        sca = film.figures.get("sca")
        value = NO_VALUE if sca is None else f"{sca[0]:.3f}"
        name = html.escape(film.film.name)
        body.append(f"<tr><td>{name}<td>{film.frames}<td>{value}<td>{_cut_line(film)}")
    body.append("</table><h2>Where the figures come from</h2><ul>")
    for name, text in _notes(rows, settings):
        body.append(f"<li>{html.escape(name)}: <small>{html.escape(text)}</small>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Scores</title>'
        f"<style>{_STYLE}</style>{''.join(body)}</ul></html>\n"
    )


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(cell)}" for cell in row))
    return f"<table>{''.join(lines)}</table>"


def _cut_line(film: ScoredFilm) -> str:
    """A film as a bar, with the cuts in it."""
    marks = []
    for tag, cuts in (("i", film.asked_cuts), ("b", film.found_cuts)):
        for cut in cuts:
            place = 100 * cut / film.frames
            marks.append(f'<{tag} style="left:{place:.2f}%" title="frame {cut}"></{tag}>')
    return f'<div class="line">{"".join(marks)}</div>'
