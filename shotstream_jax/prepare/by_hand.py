"""Captions written by hand, in DIR/captions.csv: a row for each clip that has none yet.

Columns: clip, sheet (a picture of the clip), global_caption, shot1, shot2, …; a cell of a shot that
the clip does not have is "-". Whatever stands in a row that is filled in is never changed.
"""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.prepare.steps import PreparedClip
from shotstream_jax.text.prompts import Script, check_caption

NAME = "captions.csv"
_CLIP = "clip"
_GLOBAL = "global_caption"
_NO_SHOT = "-"

Rows = dict[str, dict[str, str]]


def read_rows(path: pathlib.Path) -> Rows:
    """The rows of the file by their clips; none if there is no file. Raises InputError."""
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable CSV in UTF-8: {error}") from None
    if rows and not {_CLIP, _GLOBAL} <= set(rows[0]):
        raise InputError(f"{path} must have the columns {_CLIP}, {_GLOBAL}, shot1, shot2, …")
    found: Rows = {}
    for number, row in enumerate(rows, 1):
        if None in row:
            raise InputError(
                f"{path} row {number} has more cells than the header: put cells with commas in "
                "double quotes"
            )
        found[row[_CLIP]] = {name: (cell or "").strip() for name, cell in row.items()}
    return found


def script_by_hand(rows: Rows, clip: PreparedClip) -> Script | None:
    """What is written of a clip; None if a cell is still empty."""
    row = rows.get(clip.name, {})
    names = [_GLOBAL, *(f"shot{k}" for k in range(1, len(clip.shots) + 1))]
    cells = [row.get(name, "") for name in names]
    if not all(cells):
        return None
    for name, cell in zip(names, cells, strict=True):
        check_caption(cell, f"{NAME}, {clip.name}, {name}")
    return Script(cells[0], tuple(cells[1:]))


def write_rows(
    path: pathlib.Path, rows: Rows, missing: Sequence[PreparedClip], sheets: Mapping[str, str]
) -> None:
    """Writes the rows that are filled in, in part or whole, and those of clips without captions.

    sheets: of each missing clip, the path of its picture. Raises OSError.
    """
    wanted: Rows = {}
    for name, row in rows.items():
        if any(row.get(key) for key in row if key == _GLOBAL or _is_written(key, row)):
            wanted[name] = row
    for clip in missing:
        if clip.name in wanted:
            continue
        row = {_CLIP: clip.name, "sheet": sheets[clip.name], _GLOBAL: ""}
        for number in range(1, len(clip.shots) + 1):
            row[f"shot{number}"] = ""
        wanted[clip.name] = row
    write_whole(path, _table(wanted).encode())


def _is_written(key: str, row: Mapping[str, str]) -> bool:
    return key.startswith("shot") and row[key] != _NO_SHOT


def _table(rows: Rows) -> str:
    """Rows as CSV; of clips with fewer shots the further cells say so."""
    most = 0
    for row in rows.values():
        most = max(most, sum(key.startswith("shot") for key in row))
    fields = [_CLIP, "sheet", _GLOBAL, *(f"shot{k}" for k in range(1, most + 1))]
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, restval=_NO_SHOT, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows.values())
    return text.getvalue()
