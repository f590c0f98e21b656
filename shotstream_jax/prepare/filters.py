"""Which shots are kept, and why the others are not."""

import dataclasses

import numpy as np

from shotstream_jax.prepare.cuts import GAPS, Span
from shotstream_jax.prepare.look import FilmLook
from shotstream_jax.prepare.recipe import PrepareRecipe

KEPT = ""


@dataclasses.dataclass(frozen=True)
class FilmShot:
    """A shot of a film, or a gap between two.

    first, stop: frames of the film. start, end: in seconds. frames: how many it gives a clip.
    dropped: why it is in no clip; "" if nothing is wrong with it.
    """

    first: int
    stop: int
    start: float
    end: float
    frames: int
    dropped: str = KEPT
    light: float = 0.0
    motion: float = 0.0
    sharp: float = 0.0
    text: float = 0.0


def judge_shots(look: FilmLook, spans: list[Span], recipe: PrepareRecipe) -> list[FilmShot]:
    """All spans of a film with what was measured of them and the first reason against each."""
    shots = []
    for span in spans:
        shot = _measured(look, span, recipe)
        reason = span.kind if span.kind in GAPS else _reason_against(shot, recipe)
        shots.append(dataclasses.replace(shot, dropped=reason))
    return shots


def _measured(look: FilmLook, span: Span, recipe: PrepareRecipe) -> FilmShot:
    """A span's means; its number of clip frames, at most the longest allowed."""
    start = float(look.seconds[span.first])
    end = look.end(span.stop)
    # 0.5: a shot of exactly so many frames does not lose one to rounding.
    frames = int((end - start) * recipe.video.fps + 0.5)
    inside = slice(span.first + 1, span.stop)  # the first frame's change is the cut's
    pictures = look.pictures_of(span.first, span.stop)
    return FilmShot(
        first=span.first,
        stop=span.stop,
        start=start,
        end=end,
        frames=min(frames, recipe.shots.longest),
        light=_mean(look.light[span.first : span.stop]),
        motion=_mean(look.motion[inside]),
        sharp=_mean(look.sharp[pictures]),
        text=_mean(look.text[pictures]),
    )


def _mean(values: np.ndarray) -> float:
    """Rounded, so that files are easy to read; 0 of nothing."""
    return round(float(values.mean()), 4) if len(values) else 0.0


def _reason_against(shot: FilmShot, recipe: PrepareRecipe) -> str:
    """The first thing that is wrong with a shot."""
    limits = recipe.shots
    if shot.frames < limits.shortest:
        return "too short"
    if shot.light < limits.darkest:
        return "too dark"
    if shot.light > limits.brightest:
        return "too bright"
    if shot.text > limits.most_text:
        return "text"
    if shot.motion < limits.least_motion:
        return "still"
    if shot.motion > limits.most_motion:
        return "too much motion"
    if shot.sharp < limits.least_sharp:
        return "blurred"
    return KEPT
