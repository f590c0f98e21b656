"""What was made of the films, as pages to look at: DIR/report.html, and one a film.

Each page is a single file without anything from elsewhere: pictures are in it.
"""

import base64
import collections
import html
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from shotstream_jax.core.files import write_whole
from shotstream_jax.prepare.cuts import GAPS
from shotstream_jax.prepare.filters import KEPT, FilmShot
from shotstream_jax.prepare.look import FilmLook
from shotstream_jax.prepare.steps import PreparedClip, PreparedFilm, clip_files, film_folder
from shotstream_jax.text.prompts import Script

NAME = "report.html"
_QUALITY = 80  # of JPEG
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}
td.n{text-align:right}.line{display:flex;height:1.6em;margin:1em 0}.line i{display:block;
border-right:1px solid #fff}.clip{margin:1.5em 0;border-top:1px solid #ddd;padding-top:.8em}
.clip img{max-width:100%}.dropped{display:flex;flex-wrap:wrap;gap:.8em}.dropped figure{margin:0;
width:9em;font-size:12px}.dropped img{width:100%;image-rendering:auto}.none{color:#a00}
small{color:#666}
"""
_KEPT_COLOURS = ("#2a7", "#186")  # of clips, in turn
_DROPPED_COLOUR = "#ccb"


def write_index(
    out: pathlib.Path, films: Sequence[PreparedFilm], scripts: Mapping[str, Script]
) -> None:
    """Writes DIR/report.html: sums, what was dropped and why, a row for each film."""
    rows = []
    for film in films:
        name = html.escape(film.film.path.name)
        if film.broken:
            rows.append(f"<tr><td>{name}<td colspan=5 class=none>{html.escape(film.broken)}")
            continue
        captioned = sum(clip.name in scripts for clip in film.clips)
        used = sum(len(clip.shots) for clip in film.clips)
        link = html.escape(f"films/{film.film.name}/{NAME}", quote=True)
        cells = [_count_shots(film), used, len(film.clips), captioned]
        numbers = "".join(f"<td class=n>{cell}" for cell in cells)
        rows.append(f'<tr><td><a href="{link}">{name}</a>{numbers}<td>{_clip_time(film)}')
    head = "<tr><th>film<th>shots<th>in clips<th>clips<th>with captions<th>length of clips"
    body = (
        f"<h1>Prepared films</h1>{summary(films, scripts)}"
        f"<table>{head}{''.join(rows)}</table><h2>Dropped shots</h2>{_reasons(films)}"
    )
    write_whole(out / NAME, _page("Prepared films", body).encode())


def write_film_page(
    out: pathlib.Path, film: PreparedFilm, look: FilmLook, scripts: Mapping[str, Script]
) -> None:
    """Writes a film's page: its time line, its clips, its dropped shots."""
    parts = [f"<h1>{html.escape(film.film.path.name)}</h1>", summary([film], scripts)]
    parts.append(_time_line(film))
    for clip in film.clips:
        parts.append(_clip(out, clip, scripts.get(clip.name)))
    parts.append(f"<h2>Dropped shots</h2>{_reasons([film])}<div class=dropped>")
    for shot in film.shots:
        if shot.dropped != KEPT:
            parts.append(_dropped(look, shot))
    parts.append("</div>")
    page = _page(film.film.path.name, "".join(parts))
    write_whole(film_folder(out, film.film) / NAME, page.encode())


def summary(films: Sequence[PreparedFilm], scripts: Mapping[str, Script]) -> str:
    """One sentence of sums."""
    clips = [clip for film in films for clip in film.clips]
    shots = sum(_count_shots(film) for film in films)
    used = sum(len(clip.shots) for clip in clips)
    captioned = sum(clip.name in scripts for clip in clips)
    broken = sum(bool(film.broken) for film in films)
    text = f"{shots} shots, {used} of them in {len(clips)} clips, {captioned} with captions."
    if broken:
        text += f" {broken} of {len(films)} films cannot be used."
    return f"<p>{text}</p>"


def _count_shots(film: PreparedFilm) -> int:
    """The film's shots; black frames and transitions are none."""
    return sum(shot.dropped not in GAPS for shot in film.shots)


def _clip_time(film: PreparedFilm) -> str:
    seconds = sum(shot.end - shot.start for clip in film.clips for shot in clip.shots)
    return _time(seconds)


def _time(seconds: float) -> str:
    """Minutes and seconds, 3:07.5."""
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _reasons(films: Sequence[PreparedFilm]) -> str:
    """How often each reason was given, and for how long."""
    counts: collections.Counter[str] = collections.Counter()
    seconds: dict[str, float] = collections.defaultdict(float)
    for film in films:
        for shot in film.shots:
            if shot.dropped != KEPT:
                counts[shot.dropped] += 1
                seconds[shot.dropped] += shot.end - shot.start
    rows = []
    for reason, count in counts.most_common():
        rows.append(f"<tr><td>{reason}<td class=n>{count}<td class=n>{_time(seconds[reason])}")
    return f"<table><tr><th>why<th>shots<th>time{''.join(rows)}</table>"


def _time_line(film: PreparedFilm) -> str:
    """A bar: shots as long as they are; those in clips coloured, neighbouring clips differently."""
    colours = {}
    for number, clip in enumerate(film.clips):
        for shot in clip.shots:
            colours[shot.first] = _KEPT_COLOURS[number % len(_KEPT_COLOURS)]
    parts = []
    for shot in film.shots:
        colour = colours.get(shot.first, _DROPPED_COLOUR)
        title = f"{_time(shot.start)} – {_time(shot.end)} {shot.dropped}"
        length = shot.end - shot.start
        parts.append(f'<i style="flex:{length:.2f};background:{colour}" title="{title}"></i>')
    return f"<div class=line>{''.join(parts)}</div>"


def _clip(out: pathlib.Path, clip: PreparedClip, script: Script | None) -> str:
    """A clip: its sheet and its captions."""
    import cv2

    sheet = cv2.imread(str(clip_files(out, clip.name).sheet))
    assert sheet is not None, f"{clip.name} has no sheet"
    times = f"{_time(clip.shots[0].start)} – {_time(clip.shots[-1].end)}"
    text = "<p class=none>no captions yet</p>"
    if script is not None:
        items = "".join(f"<li>{html.escape(caption)}" for caption in script.shots)
        text = f"<p>{html.escape(script.global_caption)}</p><ol>{items}</ol>"
    picture = _embedded(sheet)
    return f"<div class=clip><b>{clip.name}</b> <small>{times}</small><br>{picture}{text}</div>"


def _dropped(look: FilmLook, shot: FilmShot) -> str:
    """A dropped shot: a picture, when, why, and what was measured."""
    pictures = look.pictures[look.pictures_of(shot.first, shot.stop)]
    picture = ""
    if len(pictures):
        picture = _embedded(np.ascontiguousarray(pictures[len(pictures) // 2][..., ::-1]))
    measured = (
        f"light {shot.light:.0f}, motion {shot.motion:.1f}, sharp {shot.sharp:.0f}, "
        f"text {shot.text:.2f}"
    )
    when = f"{_time(shot.start)}, {shot.end - shot.start:.1f} s"
    return (
        f"<figure>{picture}<figcaption><b>{shot.dropped}</b><br>{when}<br>"
        f"<small>{measured}</small></figcaption></figure>"
    )


def _embedded(bgr: np.ndarray) -> str:
    """A picture, in OpenCV's order of colours, as a part of the page."""
    import cv2

    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    text = base64.b64encode(data.tobytes()).decode()
    return f'<img src="data:image/jpeg;base64,{text}" alt="">'


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>{body}</html>\n"
    )
