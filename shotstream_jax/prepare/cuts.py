"""Step 2: what was measured of a film → its shots, and the frames that belong to none.

Hard cuts by PySceneDetect's adaptive rule, on our measurements (look): frame t is the first of a
shot if, c_t its change and w the window,

    c_t ≥ least_change  and  c_t ≥ ratio · mean(c_{t−w}, …, c_{t−1}, c_{t+1}, …, c_{t+w})     (1)

A cut between two views of one place changes few colours. Frame t is the first of a shot, too, if,
m_t its motion,

    m_t ≥ least_motion  and  m_t ≥ spike · max(m_{t−w}, …, m_{t−1}, m_{t+1}, …, m_{t+w})      (2)

Where much moves anyway, someone who comes or goes at a cut changes which colours there are, and
motion does not: (2) once more for the exchange of colours, with least_exchange and swap, and a
window twice as wide, since colours are steadier.                                               (3)

Transitions by TransNetV2 (transnet): where it sees the middle of one, all frames around that are a
part of it. A transition of a few frames is a hard cut, unless (1) to (3) have found that already.

Black runs of frames are no shots, nor are the frames that fade out before them and in after them.
"""

import itertools
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.typing import Bool, Float, typechecked
from shotstream_jax.prepare.look import FilmLook
from shotstream_jax.prepare.recipe import CutConfig
from shotstream_jax.prepare.transnet import Chances

_LEAST_FADE = 3  # frames; what is shorter is a cut to black
_RISE = 0.5  # how far light must change from frame to frame in a fade, 0 to 255
_MOST_HARD = 3  # frames that TransNetV2 takes a hard cut for
_MOST_AROUND_CUT = 8  # the same where (1) to (3) say that it is a hard cut

# What frames are.
SHOT = "shot"
BLACK = "black"
FADE = "fade"
DISSOLVE = "dissolve"
GAPS = (BLACK, FADE, DISSOLVE)


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


@typechecked
def spikes(values: Float[np.ndarray, "n"], window: int, times: float, least: float) -> list[int]:
    """The frames whose value is `least` or more, and `times` that of any in the window: eq. (2)."""
    found = []
    for frame in range(window, len(values) - window):
        around = values[frame - window : frame + window + 1].copy()
        target = around[window]
        around[window] = 0
        if target >= least and target >= times * around.max():
            found.append(frame)
    return found


@typechecked
def cuts_by_rules(
    change: Float[np.ndarray, "n"],
    motion: Float[np.ndarray, "n"],
    exchange: Float[np.ndarray, "n"],
    config: CutConfig,
) -> list[int]:
    """The first frames of all shots but the first, eqs. (1) to (3), of FilmLook's measurements."""
    by_motion = spikes(motion, config.window, config.spike, config.least_motion)
    by_colours = spikes(exchange, 2 * config.window, config.swap, config.least_exchange)
    return sorted({*hard_cuts(change, config), *by_motion, *by_colours})


def find_spans(look: FilmLook, chances: Chances | None, config: CutConfig) -> list[Span]:
    """All frames of a film as shots and gaps, in order. chances: TransNetV2's, if it was asked."""
    cuts = cuts_by_rules(look.change, look.motion, look.exchange, config)
    kinds = np.full(len(look), SHOT, dtype="<U8")
    # 1. Dissolves, and hard cuts that only TransNetV2 has seen.
    if chances is not None:
        cuts = _with_transitions(kinds, cuts, chances, config)
    # 2. Black frames, and the fades around them.
    black = (look.light <= config.black) & (look.spread <= config.plain)
    for first, stop in runs(black):
        kinds[_fade_start(look, first, config) : first] = FADE
        kinds[stop : _fade_stop(look, stop, config)] = FADE
    kinds[black] = BLACK
    # 3. The rest falls apart at the cuts.
    edges = {0, len(look)}
    edges |= set((np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist())
    for cut in cuts:
        if kinds[cut] == SHOT:
            edges.add(cut)
    spans = []
    for first, stop in itertools.pairwise(sorted(edges)):
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


def _with_transitions(
    kinds: np.ndarray, cuts: list[int], chances: Chances, config: CutConfig
) -> list[int]:
    """Marks dissolves in `kinds`; gives the hard cuts of both detectors."""
    found = list(cuts)
    in_middle = chances.middle >= config.probability
    in_part = chances.part >= config.probability
    for first, stop in runs(in_middle | in_part):
        if not in_middle[first:stop].any():
            continue
        inside = [cut for cut in cuts if first <= cut <= stop]
        length = stop - first
        if inside and length <= _MOST_AROUND_CUT:
            continue
        if length > _MOST_HARD:
            kinds[first:stop] = DISSOLVE
        else:
            # What it marks of a hard cut is the last frame before it.
            middle = first + int(np.argmax(chances.middle[first:stop]))
            found.append(min(middle + 1, len(kinds) - 1))
    return sorted(found)


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
