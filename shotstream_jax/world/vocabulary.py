"""The miniature's tokeniser: the words of the world's captions. Its file is shipped; this makes it again, to the byte.

python -m shotstream_jax.world.vocabulary --out shotstream_jax/weights/tiny/tokenizer.json
"""

import pathlib
from collections.abc import Iterator, Sequence

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.vocabulary import word_tokenizer
from shotstream_jax.world.plot import SUBSETS, WorldConfig
from shotstream_jax.world.story import make_story

STORIES = 2000  # of each subset: every word comes in the first few hundred
SIZE = 384  # ids in the preset `tiny`; some are free for words to come


def parser() -> cli.Parser:
    p = cli.make_parser("shotstream_jax.world.vocabulary", __doc__)
    p.add_argument("--out", required=True, metavar="FILE.json", help="the tokeniser's file")
    return p


def main(argv: Sequence[str]) -> None:
    path = pathlib.Path(parser().parse_args(argv).out)
    made = word_tokenizer(world_prompts(STORIES), SIZE)
    try:
        write_whole(path, made.to_str(pretty=True).encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    cli.say(f"{path}: {made.get_vocab_size()} of {SIZE} ids")


def world_prompts(stories: int) -> Iterator[str]:
    """Every shot's prompt of the first training stories of each subset."""
    for subset in SUBSETS:
        for index in range(stories):
            script = make_story(WorldConfig(subset), 0, "train", index).script
            for shot, caption in enumerate(script.shots):
                yield shot_prompt(script.global_caption, shot, caption)


if __name__ == "__main__":
    cli.run(main)
