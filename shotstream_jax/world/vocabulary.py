"""Make the tokeniser of the miniature model `tiny`: the words of the drawn world's captions.

The file is shipped with the package. Make it again when the captions have got a new word; from the
same captions it is the same file, to the byte.

examples:
  python -m shotstream_jax.world.vocabulary --out shotstream_jax/weights/tiny/tokenizer.json
"""

import pathlib
from collections.abc import Iterator, Sequence

from shotstream_jax import cli
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.text.prompts import shot_prompt
from shotstream_jax.text.vocabulary import word_tokenizer
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.story import make_story

_SUBSETS = ("simple", "full")  # have all words
STORIES = 2000  # of each subset; every word occurs in the first few hundred
SIZE = 384  # ids in the preset `tiny`; some are free for words to come


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("shotstream_jax.world.vocabulary", __doc__)
    p.add_argument("--out", required=True, metavar="FILE.json", help="the tokeniser file to write")
    return p


def main(argv: Sequence[str]) -> None:
    """Writes the tokeniser. Raises InputError if the file cannot be written."""
    path = pathlib.Path(parser().parse_args(argv).out)
    # All words of the world, in the tokeniser's own format.
    tokenizer = word_tokenizer(world_prompts(STORIES), SIZE)
    try:
        write_whole(path, tokenizer.to_str(pretty=True).encode())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None
    cli.print_line(f"{path}: {tokenizer.get_vocab_size()} of {SIZE} ids")


def world_prompts(stories: int) -> Iterator[str]:
    """Every shot's prompt of the first training stories of each subset."""
    # The same stories each time, so that the file is the same.
    for subset in _SUBSETS:
        config = WorldConfig(subset)
        for index in range(stories):
            script = make_story(config, 0, "train", index).script
            for shot, caption in enumerate(script.shots):
                yield shot_prompt(script.global_caption, shot, caption)


if __name__ == "__main__":
    cli.run(main)
