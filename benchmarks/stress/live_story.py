"""Does what a long story holds stay flat, whatever is done to its shots?

    python -m benchmarks.stress.live_story --shots 1000

One story in this process, with the shipped model: every shot another take; of each four shots one
has a pinned frame of the first shot, one a frame of the shot before and a picture, one is told
again and cut, one has half a length. Every shot is saved, and every 50th one is remade from its
record and compared to the bit. Prints a line for each tenth of the story: resident memory (Linux),
the arrays on the device and their bytes, the bytes that the story holds and what a shot takes; at
last the last quarter against the second one.
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.stress.long_story import resident_mb
from shotstream_jax import cli, load, new_story
from shotstream_jax.generate.asked import Pin, Shot
from shotstream_jax.generate.live import advance, begin, cut, remake, retell
from shotstream_jax.generate.pins import pin_frame
from shotstream_jax.generate.story import Story
from shotstream_jax.model import Model


class Row(NamedTuple):
    """After a shot: resident MB, arrays and their MB, MB of the story; and the shot's seconds."""

    resident: float
    arrays: int
    live: float
    story: float
    seconds: float


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.live_story", __doc__)
    p.add_argument("--shots", type=int, default=1000, metavar="N", help="(default: %(default)s)")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="(default: %(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    model = load("tiny")
    with tempfile.TemporaryDirectory() as folder:
        rows = tell_story(model, pathlib.Path(folder), args.shots, args.seed)
    report(rows)


def tell_story(model: Model, folder: pathlib.Path, shots: int, seed: int) -> list[Row]:
    """A row after each shot."""
    story = new_story(model, "A cartoon about a green frog.", seed)
    mara = None
    rows = []
    for number in range(shots):
        start = time.perf_counter()
        before = story
        story = tell_shot(model, story, number, mara)
        seconds = time.perf_counter() - start
        if mara is None:
            mara = pin_frame(story, 0, 0)
        story.save(folder)
        if number % 50 == 49:
            check_remade(model, before, story)
        rows.append(measured(story, seconds))
    return rows


def tell_shot(model: Model, story: Story, number: int, mara: Pin | None) -> Story:
    """The story with its next shot."""
    chunk = model.preset.memory.chunk
    kind = number % 4
    words = model.tokenizer.words()
    shot = Shot(f"The frog and the {words[number % len(words)]}.", take=number)
    if kind == 1 and mara is not None:
        shot = Shot("The frog is waving.", take=number, pins=(mara,))
    elif kind == 2:
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 256, (90, 70, 3), np.uint8)
        last = pin_frame(story, story.next_shot - 1, 0)
        shot = Shot("The frog jumps.", take=number, pins=(last,), pictures=(picture,))
    elif kind == 3:
        half = model.preset.video.shot_frames // chunk // 2
        shot = Shot("The frog is sleeping.", take=number, frames=half * chunk)
    live = begin(model, story, shot)
    while not live.is_finished:
        live, decoded = advance(model, live)
        np.asarray(decoded.pixels)
        # The first kind is told again after its first chunk, and cut after its second.
        if kind == 0 and live.progress.chunks_made == 1:
            live = retell(model, live, "The frog is waving.", again=number % 8 == 0)
        if kind == 0 and live.progress.chunks_made == 2:
            break
    return cut(model, live)


def check_remade(model: Model, before: Story, after: Story) -> None:
    """Raises RuntimeError if the last shot, remade from its record, is another one."""
    record = after.shots[-1]
    if not remake(model, before, record).story.shots[-1].is_same(record):
        raise RuntimeError(f"shot {record.number + 1} is another one when it is remade")


def measured(story: Story, seconds: float) -> Row:
    """What there is now."""
    arrays = jax.live_arrays()
    live = sum(array.nbytes for array in arrays)
    return Row(resident_mb("self"), len(arrays), live / 2**20, story.nbytes / 2**20, seconds)


def report(rows: list[Row]) -> None:
    """Prints a line for every tenth of the story, and the comparison of two quarters."""
    cli.print_line(
        "    shots   resident MB   arrays   their MB   story MB   seconds a shot (largest)"
    )
    tenth = max(1, len(rows) // 10)
    for first in range(0, len(rows), tenth):
        part = rows[first : first + tenth]
        largest = [max(values) for values in zip(*part, strict=True)]
        median = statistics.median(row.seconds for row in part)
        cli.print_line(
            f"{first:4d}–{first + len(part) - 1:4d} {largest[0]:13.1f} {largest[1]:8d} "
            f"{largest[2]:10.2f} {largest[3]:10.2f} {median:8.2f} ({largest[4]:.2f})"
        )
    quarter = len(rows) // 4
    early = rows[quarter : 2 * quarter]
    late = rows[-quarter:]
    change = _median_resident(late) / _median_resident(early) - 1
    arrays = max(row.arrays for row in late) - max(row.arrays for row in early)
    cli.print_line(
        f"last quarter against the second: resident memory {change:+.2%}, arrays {arrays:+d}"
    )


def _median_resident(rows: list[Row]) -> float:
    return statistics.median(row.resident for row in rows)


if __name__ == "__main__":
    cli.run(main)
