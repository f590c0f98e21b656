"""How soon the picture turns when a shot of the miniature is told another caption.

    python -m benchmarks.quality.retell --stories 50

Each story's shot begins with a character in a place. After its first chunk it is told another
place, character or action. The shipped probe reads every chunk: the share of the frames (of the
chunks, for an action) that show what was told last. `passes` lets the chunk that there is pass
again under the new caption (generate/live.retell), `text` replaces the caption only, `from the
start` was told so at once. Prints a line for each; ten minutes.
"""

import argparse
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from benchmarks.quality.shipped_reader import shipped_reader
from shotstream_jax import cli
from shotstream_jax.checkpoint.load import load
from shotstream_jax.core.compilation import use_persistent_cache
from shotstream_jax.core.typing import UInt8
from shotstream_jax.eval.reading import Reader
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.live import advance, begin, retell
from shotstream_jax.generate.stream import new_story
from shotstream_jax.model import Model
from shotstream_jax.world.captions import ACTION_PHRASES, ADJECTIVES, PLACE_PHRASES

QUESTIONS = ("place", "character", "action")
CHUNKS = 4
WAYS = {"passes": True, "text": False, "from the start": None}


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.quality.retell", __doc__)
    p.add_argument("--stories", type=int, default=50, metavar="N", help="default: %(default)s")
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    args: argparse.Namespace = parser().parse_args(argv)
    use_persistent_cache()
    model = load("tiny")
    reader = shipped_reader(model.preset)
    columns = "".join(f"{f'chunk {i + 1}':>10}" for i in range(CHUNKS))
    cli.print_line(f"{'what turns':12}{'how':16}{columns}")
    for what in QUESTIONS:
        for how, again in WAYS.items():
            shares = np.zeros(CHUNKS)
            for seed in range(args.stories):
                shares += turned(model, reader, what, again, seed)
            cells = "".join(f"{share:>10.2f}" for share in shares / args.stories)
            cli.print_line(f"{what:12}{how:16}{cells}")


def turned(model: Model, reader: Reader, what: str, again: bool | None, seed: int) -> np.ndarray:
    """The share of each chunk's frames that show what the shot was told last, [chunks].

    again: as retell's; None to tell it from the start.
    """
    # 1. A character, a place and an action, and another one of each.
    rng = np.random.default_rng(seed)
    labels = reader.labels
    characters = rng.choice(labels.characters, 2, replace=False)
    places = rng.choice(labels.place_choices["place"], 2, replace=False)
    actions = rng.choice(labels.actions, 2, replace=False)
    kinds = [f"a {ADJECTIVES[name]} {name}" for name in characters]
    words = f"A cartoon about {kinds[0]} and {kinds[1]}."
    before = caption(characters[0], actions[0], places[0])
    after = {
        "place": caption(characters[0], actions[0], places[1]),
        "character": caption(characters[1], actions[0], places[0]),
        "action": caption(characters[0], actions[1], places[0]),
    }[what]
    # 2. Each chunk's frames, read.
    shares = []
    for pixels in chunks(model, words, before, after, again, seed):
        reading = reader.read(pixels[None])[0]
        told = {
            "place": reading.frames["place"] == labels.place_choices["place"].index(places[1]),
            "character": reading.present[:, labels.characters.index(characters[1])] > 0.5,
            "action": reading.shot["action"][labels.characters.index(characters[0])]
            == labels.actions.index(actions[1]),
        }[what]
        shares.append(np.mean(told))
    return np.array(shares)


def caption(character: str, action: str, place: str) -> str:
    """A sentence as the world writes them."""
    says = ACTION_PHRASES[action][0][0]
    return f"The {character} {says} {PLACE_PHRASES[place][0]}."


def chunks(
    model: Model, words: str, before: str, after: str, again: bool | None, seed: int
) -> Iterator[UInt8[np.ndarray, "p y x 3"]]:
    """The frames of a shot's chunks; after the first one it is told `after`."""
    story = new_story(model, words, seed)
    frames = CHUNKS * model.preset.memory.chunk
    live = begin(model, story, Shot(after if again is None else before, frames=frames))
    for number in range(CHUNKS):
        if number == 1 and again is not None:
            live = retell(model, live, after, again=again)
        live, chunk = advance(model, live)
        yield jax.device_get(chunk.pixels)[0]


if __name__ == "__main__":
    cli.run(main)
