"""How many cuts of drawn films `shotstream prepare` finds, and how many it invents.

    python -m benchmarks.quality.cuts --films 200

Films of the drawn world (docs/world.md), whose cuts are known. In every second film one cut is made
a fade through black and one a dissolve, of 8 to 16 frames. Prints a line for each kind: how many
there are, precision and recall; of the hard cuts those within one place once more by themselves,
since such a cut changes little. A hard cut is found if it is found to the frame, a fade or dissolve
if what is found meets it. `--gradual none` does without TransNetV2 and takes about a second a film.
"""

import collections
import itertools
import pathlib
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shotstream_jax import cli
from shotstream_jax.core.progress import progress_bar
from shotstream_jax.media.video import VideoWriter
from shotstream_jax.prepare.cuts import GAPS, Span, find_spans
from shotstream_jax.prepare.look import look_at, small_frames
from shotstream_jax.prepare.recipe import CutConfig, PrepareRecipe
from shotstream_jax.prepare.transnet import NO_NETWORK, find_chances, load_transnet
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource

HEIGHT, WIDTH, FPS = 108, 192, 16
HARD = "hard cut"
SAME_PLACE = "hard cut within a place"
FADED = "fade through black"
DISSOLVED = "dissolve"
KINDS = (HARD, SAME_PLACE, FADED, DISSOLVED)
_BLACK = 4  # frames between a fade out and a fade in


class Transition(NamedTuple):
    """Where a shot becomes the next one: frames [first, stop) are neither; none of a hard cut."""

    first: int
    stop: int
    kind: str


class Score(NamedTuple):
    """found: those of `known` that were found. invented: what was found and is none."""

    known: int
    found: int
    invented: int


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.quality.cuts", __doc__)
    p.add_argument("--films", type=int, default=200, metavar="N", help="(default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    p.add_argument(
        "--gradual",
        default="package",
        metavar="SOURCE",
        help="cuts.gradual of the recipe (default: %(default)s)",
    )
    p.add_argument("--preset", default="wan-1.3b", help="of the recipe (default: %(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    args = parser().parse_args(argv)
    overrides = [f"--config.cuts.gradual={args.gradual}"]
    config = cli.load_config(f"prepare:{args.preset}", overrides)
    cuts = cli.build(PrepareRecipe, config, "config").cuts
    source = WorldSource(WorldConfig("full", FPS), HEIGHT, WIDTH, args.films, args.seed, "test")
    totals: collections.Counter[tuple[str, str]] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for index in progress_bar(range(args.films), unit="film"):
            path = pathlib.Path(folder) / "film.mp4"
            frames, known = make_film(source, index)
            write_film(path, frames)
            spans = spans_of(path, cuts)
            for kind, score in score_film(known, spans).items():
                for name, number in score._asdict().items():
                    totals[kind, name] += number
    cli.print_line(f"{'kind':28}{'known':>7}{'precision':>11}{'recall':>8}")
    for kind in KINDS:
        known_count, found = totals[kind, "known"], totals[kind, "found"]
        if kind == SAME_PLACE:  # what is invented is told once, beside all hard cuts
            precision = f"{'':11}"
        else:
            precision = f"{found / max(1, found + totals[kind, 'invented']):11.3f}"
        recall = f"{found / max(1, known_count):8.3f}"
        cli.print_line(f"{kind:28}{known_count:7}{precision}{recall}")


def make_film(source: WorldSource, index: int) -> tuple[np.ndarray, list[Transition]]:
    """A film's pictures and its transitions, in order."""
    film = source[index]
    rng = np.random.default_rng((source.seed, index))
    shots = film.story.shots
    pieces = []
    start = 0
    for shot in shots:
        pieces.append(film.frames[start : start + shot.frames])
        start += shot.frames
    # Which cuts of this film are made gradual.
    kinds = []
    for before, after in itertools.pairwise(shots):
        kinds.append(SAME_PLACE if before.place == after.place else HARD)
    if index % 2:
        for place, kind in zip(rng.permutation(len(kinds))[:2], (FADED, DISSOLVED), strict=False):
            kinds[place] = kind
    return _joined(pieces, kinds, rng)


def _joined(
    pieces: Sequence[np.ndarray], kinds: Sequence[str], rng: np.random.Generator
) -> tuple[np.ndarray, list[Transition]]:
    """Shots one after another, by these transitions."""
    frames = pieces[0]
    known = []
    for kind, piece in zip(kinds, pieces[1:], strict=True):
        length = int(rng.integers(8, 17))
        end = len(frames)
        if kind == FADED:
            share = np.arange(length)[:, None, None, None] / length
            fade_out = frames[end - length :] * share[::-1]
            between = np.zeros((_BLACK, *frames.shape[1:]))
            new = [fade_out, between, piece[:length] * share, piece[length:]]
            frames = np.concatenate([frames[: end - length], *new]).astype(np.uint8)
            known.append(Transition(end - length, end + _BLACK + length, kind))
        elif kind == DISSOLVED:
            share = (np.arange(length)[:, None, None, None] + 1) / (length + 1)
            mixed = frames[end - length :] * (1 - share) + piece[:length] * share
            new = [mixed, piece[length:]]
            frames = np.concatenate([frames[: end - length], *new]).astype(np.uint8)
            known.append(Transition(end - length, end, kind))
        else:
            frames = np.concatenate([frames, piece])
            known.append(Transition(end, end, kind))
    return frames, known


def write_film(path: pathlib.Path, frames: np.ndarray) -> None:
    """Writes a film as cameras and editors do, with loss."""
    with VideoWriter(path, FPS) as video:
        video.write(frames)


def spans_of(path: pathlib.Path, config: CutConfig) -> list[Span]:
    """A film's shots and gaps, found as `shotstream prepare` finds them."""
    look = look_at(path, _ignore)
    chances = None
    if config.gradual != NO_NETWORK:
        chances = find_chances(load_transnet(config.gradual), small_frames(path, _ignore))
    return find_spans(look, chances, config)


def _ignore(count: int) -> None:
    """No progress within a film."""


def score_film(known: Sequence[Transition], spans: Sequence[Span]) -> dict[str, Score]:
    """The score of each kind. What is invented is a hard cut, or a gap that meets no transition."""
    boundaries = found_transitions(spans)
    counts: collections.Counter[str] = collections.Counter()
    found: collections.Counter[str] = collections.Counter()
    used: set[Transition] = set()
    for transition in known:
        counts[transition.kind] += 1
        is_hard = transition.first == transition.stop
        meeting = []
        for boundary in boundaries:
            if is_hard and boundary.first == transition.first == boundary.stop:
                meeting.append(boundary)
            elif not is_hard and _meet(boundary, transition):
                meeting.append(boundary)
        used |= set(meeting)
        found[transition.kind] += bool(meeting)
    invented = collections.Counter(one.kind for one in boundaries if one not in used)
    # A cut within a place is a hard cut, too.
    counts[HARD] += counts[SAME_PLACE]
    found[HARD] += found[SAME_PLACE]
    return {kind: Score(counts[kind], found[kind], invented[kind]) for kind in KINDS}


def found_transitions(spans: Sequence[Span]) -> list[Transition]:
    """Between shots that follow each other a hard cut, else the gap between them as a whole."""
    found: list[Transition] = []
    end = None  # of the last shot
    gaps: set[str] = set()
    for span in spans:
        if span.kind in GAPS:
            gaps.add(span.kind)
            continue
        if end is not None:
            kind = HARD
            if gaps:
                kind = DISSOLVED if gaps == {"dissolve"} else FADED
            found.append(Transition(end, span.first, kind))
        end = span.stop
        gaps = set()
    return found


def _meet(a: Transition, b: Transition) -> bool:
    return a.first <= b.stop and b.first <= a.stop


if __name__ == "__main__":
    cli.run(main)
