"""Captions that a film brings along: FILM.captions.json beside FILM.mp4.

    {"global_caption": "A cartoon about a big rabbit.",
     "captions": [{"start": 0.0, "end": 4.2, "caption": "A rabbit wakes up in its burrow."}, …]}

Times are seconds of the film. A shot gets the caption that it shares most time with.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from shotstream_jax.core.errors import InputError
from shotstream_jax.prepare.filters import FilmShot
from shotstream_jax.text.prompts import Script, check_caption

ENDING = ".captions.json"
_EXAMPLE = '{"global_caption": "…", "captions": [{"start": 0.0, "end": 4.2, "caption": "…"}]}'


class TimedCaption(NamedTuple):
    """start, end: seconds of the film."""

    start: float
    end: float
    caption: str


class Sidecar(NamedTuple):
    """What a film's sidecar says."""

    global_caption: str
    captions: list[TimedCaption]


def sidecar_path(film: pathlib.Path) -> pathlib.Path:
    """Where a film's captions are, if it has some."""
    return film.with_suffix(ENDING)


def read_sidecar(path: pathlib.Path) -> Sidecar:
    """A sidecar. Raises InputError, which names the file and the remedy, if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read captions {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("captions"), list):
        raise InputError(f"{path} must be {_EXAMPLE}")
    captions = []
    for number, entry in enumerate(content["captions"], 1):
        captions.append(_timed(f"{path} caption {number}", entry))
    where = f"{path}: global_caption"
    return Sidecar(check_caption(content.get("global_caption"), where), captions)


def _timed(where: str, entry: Any) -> TimedCaption:
    """One entry of a sidecar."""
    if not isinstance(entry, dict) or set(entry) != {"start", "end", "caption"}:
        raise InputError(f"{where} must have start, end and caption, like {_EXAMPLE}")
    for name in ("start", "end"):
        if isinstance(entry[name], bool) or not isinstance(entry[name], int | float):
            raise InputError(f"{where}: {name} {entry[name]!r:.40} must be a number of seconds")
    if entry["end"] <= entry["start"]:
        raise InputError(f"{where} ends at {entry['end']}, before it starts, {entry['start']}")
    caption = check_caption(entry["caption"], where)
    return TimedCaption(float(entry["start"]), float(entry["end"]), caption)


def script_of(sidecar: Sidecar, shots: Sequence[FilmShot]) -> Script | None:
    """The captions of a clip's shots; None if a shot shares no time with any caption."""
    captions = []
    for shot in shots:
        best = ""
        most = 0.0
        for timed in sidecar.captions:
            shared = min(shot.end, timed.end) - max(shot.start, timed.start)
            if shared > most:
                best = timed.caption
                most = shared
        if not best:
            return None
        captions.append(best)
    return Script(sidecar.global_caption, tuple(captions))
