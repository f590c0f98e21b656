"""Who comes back after many shots: is it the same one, by each rule of what a shot remembers?

    python -m benchmarks.quality.chosen_memory --stories 100

Returns: a character has one shot (after none to two shots of another one), is away for 4 to 15
shots of the other one, and returns. All shots but the last are made once, by the paper's rule; the
last one by each rule, and by the paper's with a pin of the character's first frame.

Ordinary: the world's own stories of ten shots, each told as a whole by each rule; the shots count
that have more than C behind them.

The shipped probe reads all shots; the figures are those of `shotstream eval` (docs/eval.md), with
95 % intervals over whole stories, for the rules also of the difference to the paper's. Prints both
tables after every 20 stories; a quarter of an hour on two processor cores.
"""

import argparse
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from benchmarks.quality.shipped_reader import shipped_reader
from shotstream_jax import cli
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.metrics import Figures, bootstrap, story_figures
from shotstream_jax.eval.reading import Reader, Reading
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.live import advance, begin
from shotstream_jax.generate.pins import pin_frame
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.stream import new_story
from shotstream_jax.memory.choose import CAPTION, PAPER, RULES
from shotstream_jax.model import Model
from shotstream_jax.world.camera import Camera
from shotstream_jax.world.captions import write_captions
from shotstream_jax.world.plot import PlotShot, Role, WorldConfig, sample_plot

FIGURES = ("appearance", "who", "where", "action", "layout", "steady")
PINNED = "pin"
AWAY = (4, 5, 7, 9, 12, 15)
ORDINARY_SHOTS = 10

# Way → a figure's values, one row a story.
Table = dict[str, list[dict[str, np.ndarray]]]


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.quality.chosen_memory", __doc__)
    p.add_argument("--stories", type=int, default=100, metavar="N", help="default: %(default)s")
    p.add_argument("--seed", type=int, default=0, help="of the first story (default: %(default)s)")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    args: argparse.Namespace = parser().parse_args(argv)
    use_persistent_cache()
    model = load("tiny")
    reader = shipped_reader(model.preset)
    near: Table = {}
    far: Table = {}
    ordinary: Table = {}
    for number in range(args.stories):
        seed = args.seed + number
        away, returned = tell_return(model, reader, seed)
        add(near if away < model.preset.memory.context else far, returned)
        add(ordinary, tell_ordinary(model, reader, seed))
        if (number + 1) % 20 == 0 or number + 1 == args.stories:
            cli.print_line(f"after {number + 1} stories")
            for title, table in (
                ("returns, the paper's rule still sees the character", near),
                ("returns, the paper's rule has forgotten the character", far),
                ("ordinary stories", ordinary),
            ):
                print_table(title, table)


def tell_return(model: Model, reader: Reader, seed: int) -> tuple[int, dict[str, Figures]]:
    """How long the character was away, and the figures of its return in each way, [1] each."""
    # 1. Who is in which shot, and its caption.
    rng = np.random.default_rng(seed)
    before = int(rng.integers(0, 3))
    away = int(rng.choice(AWAY))
    plot = return_plot(rng, reader.labels, before, away)
    script = write_captions(rng, plot, with_camera=False)
    # 2. All shots but the last, by the paper's rule in a story that remembers more.
    story = new_story(model, script.global_caption, seed, memory=CAPTION)
    readings = []
    for caption in script.shots[:-1]:
        story, reading = tell(model, reader, story, Shot(caption, memory=PAPER))
        readings.append(reading)
    # 3. The last one in each way.
    caption = script.shots[-1]
    shots = {rule: Shot(caption, memory=rule) for rule in RULES}
    shots[PINNED] = Shot(caption, memory=PAPER, pins=(pin_frame(story, before, 0),))
    figures = {}
    for way, shot in shots.items():
        _, reading = tell(model, reader, story, shot)
        of_story = story_figures(reader.labels, [*readings, reading], plot)
        figures[way] = {name: of_story[name][-1:] for name in FIGURES}
    return away, figures


def return_plot(rng: np.random.Generator, labels: Labels, before: int, away: int) -> list[PlotShot]:
    """Shots of another character, one of the character, others' again, and its return."""
    mara, other = (str(name) for name in rng.choice(labels.characters, 2, replace=False))
    places = rng.choice(labels.place_choices["place"], 2, replace=False)
    shots: list[PlotShot] = []
    for name in [other] * before + [mara] + [other] * away + [mara]:
        shot = None
        # No shot is told as the one before it.
        while shot is None or (shots and shot == shots[-1]):
            role = Role(name, str(rng.choice(labels.actions)), 0.0, 1, 0.0, 0.0)
            shot = PlotShot(str(rng.choice(places)), (role,), Camera("near", "still"), 1)
        shots.append(shot)
    return shots


def tell_ordinary(model: Model, reader: Reader, seed: int) -> dict[str, Figures]:
    """The figures of an ordinary story's shots that have more than C behind them, by each rule."""
    rng = np.random.default_rng(seed)
    world = WorldConfig(reader.labels.subset, shots=(ORDINARY_SHOTS,))
    plot = sample_plot(rng, world)
    script = write_captions(rng, plot, with_camera=False)
    figures = {}
    for rule in RULES:
        story = new_story(model, script.global_caption, seed, memory=rule)
        readings = []
        for caption in script.shots:
            story, reading = tell(model, reader, story, Shot(caption))
            readings.append(reading)
        of_story = story_figures(reader.labels, readings, plot)
        first = model.preset.memory.context + 1
        figures[rule] = {name: of_story[name][first:] for name in FIGURES}
    return figures


def tell(model: Model, reader: Reader, story: Story, shot: Shot) -> tuple[Story, Reading]:
    """The story with the shot, and what the probe reads in it."""
    live = begin(model, story, shot)
    frames = []
    while not live.is_finished:
        live, chunk = advance(model, live)
        frames.append(jax.device_get(chunk.pixels)[0])
    return live.story, reader.read(np.concatenate(frames)[None])[0]


def add(table: Table, figures: dict[str, Figures]) -> None:
    """Adds a story's figures."""
    for way, values in figures.items():
        table.setdefault(way, []).append(dict(values))


def print_table(title: str, table: Table) -> None:
    """A line for each way: means with intervals, and the differences to the paper's rule."""
    if not table:
        return
    cli.print_line(f"{title}: {len(table[PAPER])} stories")
    cli.print_line("".join([f"{'':9}", *[f"{name:>19}" for name in FIGURES]]))
    for way, stories in table.items():
        cli.print_line("".join([f"{way:9}", *cells(stories, None)]))
        if way != PAPER:
            cli.print_line("".join([f"{'  less':9}", *cells(stories, table[PAPER])]))


def cells(
    stories: Sequence[dict[str, np.ndarray]], paper: Sequence[dict[str, np.ndarray]] | None
) -> Iterator[str]:
    """The figures of a line, less those of the paper's rule if these are given."""
    for name in FIGURES:
        values = np.stack([story[name] for story in stories])
        if paper is not None:
            values = values - np.stack([story[name] for story in paper])
        found = bootstrap(values)
        yield f"{found.value:>6.2f} [{found.low:>5.2f} {found.high:>5.2f}]"


if __name__ == "__main__":
    cli.run(main)
