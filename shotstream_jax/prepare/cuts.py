"""Step 2: what was measured of a film → its shots, and the frames that belong to none.

Hard cuts by PySceneDetect's adaptive rule, on our measurements (look): frame t is the first of a
shot if, c_t its change and w the window,

    c_t ≥ least_change  and  c_t ≥ ratio · mean(c_{t−w}, …, c_{t−1}, c_{t+1}, …, c_{t+w})     (1)

Black runs of frames are no shots, nor are the frames that fade out before them and in after them.
"""

import itertools
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.typing import Bool, Float, typechecked
from shotstream_jax.prepare.look import FilmLook
from shotstream_jax.prepare.recipe import CutConfig

_LEAST_FADE = 3  # frames; what is shorter is a cut to black
_RISE = 0.5  # how far light must change from frame to frame in a fade, 0 to 255

# What the frames of a gap are.
BLACK = "black"
FADE = "fade"


class Span(NamedTuple):
    """[first, stop) frames of a film. kind: "shot", or of what kind these frames of no shot are."""

    first: int
    stop: int
    kind: str


@typechecked
def hard_cuts(change: Float[np.ndarray, "n"], config: CutConfig) -> list[int]:
    """The first frames of all shots but the first, eq. (1)."""
    window = config.window
    cuts: list[int] = []
    last = 0
    for frame in range(window, len(change) - window):
        target = change[frame]
        if target < config.least_change or frame - last < config.shortest:
            continue
        around = change[frame - window : frame + window + 1].sum() - target
        if target * 2 * window >= config.ratio * around:
            cuts.append(frame)
            last = frame
    return cuts


def find_spans(look: FilmLook, config: CutConfig) -> list[Span]:
    """All frames of a film as shots and gaps, in order."""
    # 1. What belongs to no shot.
    black = (look.light <= config.black) & (look.spread <= config.plain)
    kinds = np.where(black, BLACK, "shot")
    for first, stop in runs(black):
        kinds[_fade_start(look, first, config) : first] = FADE
        kinds[stop : _fade_stop(look, stop, config)] = FADE
    # 2. The rest falls apart at the cuts.
    edges = {0, len(look)}
    edges |= set((np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist())
    for cut in hard_cuts(look.change, config):
        if kinds[cut] == "shot":
            edges.add(cut)
    ordered = sorted(edges)
    spans = []
    for first, stop in itertools.pairwise(ordered):
        spans.append(Span(first, stop, str(kinds[first])))
    return spans


@typechecked
def runs(mask: Bool[np.ndarray, "n"]) -> list[tuple[int, int]]:
    """The [first, stop) of all runs of True."""
    padded = np.concatenate([[False], mask, [False]]).astype(np.int8)
    edges = np.diff(padded)
    firsts = np.flatnonzero(edges == 1)
    stops = np.flatnonzero(edges == -1)
    return list(zip(firsts.tolist(), stops.tolist(), strict=True))


def _fade_start(look: FilmLook, first: int, config: CutConfig) -> int:
    """Where the picture begins to grow dark before a black run; its beginning if it does not."""
    start = first
    earliest = look.seconds[first] - config.fade
    while start > 1 and look.seconds[start - 1] >= earliest:
        if look.light[start - 1] < look.light[start] + _RISE:
            break
        start -= 1
    return start if first - start >= _LEAST_FADE else first


def _fade_stop(look: FilmLook, stop: int, config: CutConfig) -> int:
    """Where the picture is bright again after a black run that ends at `stop`."""
    end = stop
    latest = look.end(stop) + config.fade
    while end < len(look) and look.seconds[end] <= latest:
        if look.light[end] < look.light[end - 1] + _RISE:
            break
        end += 1
    return end if end - stop >= _LEAST_FADE else stop
