"""The last step: clips with captions → the table that precompute reads (data/clips)."""

import csv
import io
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from shotstream_jax.core.files import write_json, write_whole
from shotstream_jax.data.clips import COLUMNS
from shotstream_jax.prepare.steps import PreparedClip
from shotstream_jax.text.prompts import Script

NAME = "clips.csv"
_FURTHER = ("film", "start", "end")  # where a clip comes from, for people


class TableRow(NamedTuple):
    """A clip, its captions, and the film that it is of."""

    clip: PreparedClip
    script: Script
    film: pathlib.Path


def write_clip_table(out: pathlib.Path, rows: Sequence[TableRow]) -> None:
    """Writes DIR/clips.csv and a story file for each clip; removes the table if there is no row.

    Raises OSError.
    """
    path = out / NAME
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, *_FURTHER])
    for row in rows:
        story = f"clips/{row.clip.name}.json"
        write_json(out / story, _story(row.script))
        intervals = json.dumps(clip_intervals(row.clip))
        count = len(row.clip.shots)
        cells = [count, story, f"clips/{row.clip.name}.mp4", intervals]
        first, last = row.clip.shots[0], row.clip.shots[-1]
        writer.writerow([*cells, row.film.name, round(first.start, 3), round(last.end, 3)])
    write_whole(path, text.getvalue().encode())


def clip_intervals(clip: PreparedClip) -> list[list[int]]:
    """The [first, stop) frames of each shot in the clip."""
    intervals = []
    first = 0
    for shot in clip.shots:
        intervals.append([first, first + shot.frames])
        first += shot.frames
    return intervals


def _story(script: Script) -> dict[str, str]:
    story = {"global_caption": script.global_caption}
    for number, caption in enumerate(script.shots, 1):
        story[f"shot{number}"] = caption
    return story
