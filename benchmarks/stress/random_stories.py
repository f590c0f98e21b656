"""Are stories that are told at random made again to the bit?

    python -m benchmarks.stress.random_stories --stories 100

Small random weights. Each story has 16 shots: takes, lengths, pinned frames of remembered and of
forgotten shots, pictures, either rule of memory, captions told again at any chunk in both ways,
cuts; now and then it goes on from the disk, or from an earlier shot in a fork. Each shot is remade
from its record at once, and at the end the whole story from the records on the disk. A story takes
some two seconds; one that differs ends the command, with its seed.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
from absl import logging

from shotstream_jax import cli, new_story
from shotstream_jax.generate.asked import Pin, Shot
from shotstream_jax.generate.live import advance, begin, cut, remake, retell
from shotstream_jax.generate.pins import pin_frame
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.choose import RULES
from shotstream_jax.model import Model
from shotstream_jax.testing import tiny_model

_SHOTS = 16


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.random_stories", __doc__)
    p.add_argument("--stories", type=int, default=100, metavar="N", help="(default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the first one (default: 0)")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    # The prompts of such stories are too long for small weights, which is no matter here.
    logging.set_verbosity(logging.ERROR)
    model = tiny_model()
    for seed in range(args.seed, args.seed + args.stories):
        with tempfile.TemporaryDirectory() as folder:
            check_story_of(model, seed, pathlib.Path(folder))
    cli.print_line(f"{args.stories} stories of {_SHOTS} shots: all remade to the bit")


def check_story_of(model: Model, seed: int, folder: pathlib.Path) -> None:
    """Tells a story and makes it again. Raises RuntimeError, with its seed, if that differs."""
    rng = np.random.default_rng(seed)
    rule = RULES[rng.integers(len(RULES))]
    new = dataclasses.replace(new_story(model, "A fox.", seed), memory=rule)
    # 1. Shot by shot, each remade at once and saved.
    story = new
    kept = folder / "0"
    pins: list[Pin] = []
    for number in range(_SHOTS):
        before = story
        story = tell_shot(model, before, rng, pins)
        _check_same(remake(model, before, story.shots[-1]).story, story, seed)
        story.save(kept)
        _check_same(Story.load(kept), story, seed)
        # 2. Now and then from the disk, or from an earlier shot.
        if rng.random() < 0.2:
            story = Story.load(kept)
        if rng.random() < 0.1:
            at = int(rng.integers(1, story.next_shot + 1))
            story = Story.fork(kept, at, folder / str(number + 1))
            kept = folder / str(number + 1)
            pins = [pin for pin in pins if pin.shot is not None and pin.shot < at]
    # 3. The whole story once more, from the records alone.
    again = new
    records = []
    for number in range(story.next_shot):
        records.append(Story.load(kept, at=number + 1).shots[-1])
        again = remake(model, again, records[-1]).story
    _check_same(again, story, seed)
    _check_same(Story.of(records, like=new), story, seed)


def tell_shot(model: Model, story: Story, rng: np.random.Generator, pins: list[Pin]) -> Story:
    """The story after a random shot. pins: that may be used again; new ones are added."""
    live = begin(model, story, _random_shot(model, story, rng, pins))
    stop = int(rng.integers(1, 8))
    while not live.is_finished and live.progress.chunks_made < stop:
        while rng.random() < 0.25:
            caption = f"caption {rng.integers(5)}"
            live = retell(model, live, caption, again=bool(rng.integers(2)))
        live, _ = advance(model, live)
    return cut(model, live)


def _random_shot(model: Model, story: Story, rng: np.random.Generator, pins: list[Pin]) -> Shot:
    """A shot with anything that a Shot can say, but for styles."""
    seen = []
    for _ in range(rng.integers(3)):
        if story.shots and rng.random() < 0.5:
            record = story.shots[rng.integers(len(story.shots))]
            frame = int(rng.choice(record.frames)) - record.first_frame
            pins.append(pin_frame(story, record.number, frame))
        if pins:
            seen.append(pins[rng.integers(len(pins))])
    pictures = []
    for _ in range(rng.integers(2)):
        pictures.append(rng.integers(0, 256, (9, 13, 3), np.uint8))
    chunk = model.preset.memory.chunk
    return Shot(
        f"caption {rng.integers(5)}",
        take=int(rng.integers(3)),
        frames=(None, chunk, 2 * chunk, 5 * chunk)[rng.integers(4)],
        pins=tuple(seen),
        pictures=tuple(pictures),
        memory=(None, *RULES)[rng.integers(1 + len(RULES))],
    )


def _check_same(one: Story, other: Story, seed: int) -> None:
    """Raises RuntimeError if what two stories remember differs in a bit."""
    is_same = len(one.shots) == len(other.shots)
    for record, its_like in zip(one.shots, other.shots, strict=False):
        is_same = is_same and record.is_same(its_like)
    if not is_same:
        raise RuntimeError(f"the story of seed {seed} differs after shot {other.next_shot}")


if __name__ == "__main__":
    cli.run(main)
