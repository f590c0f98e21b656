"""Where the captions come from: a file that is read as a whole, a pipe, or a person who types."""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from absl import logging

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.story import Story
from shotstream_jax.generate.storyteller.session import KIND
from shotstream_jax.generate.stream import warm_up
from shotstream_jax.model import Model
from shotstream_jax.text.prompts import ask_lines, read_captions, read_lines, read_script


def read_request(args: argparse.Namespace) -> tuple[str, Sequence[str] | None]:
    """The global caption, and all captions; None for captions from standard input.

    A file is read as a whole, so a mistake in it is found before the first shot.
    """
    if args.story:
        script = read_script(args.story)
        return script.global_caption, script.shots
    if args.prompts == "-":
        is_typed()  # refuses a closed standard input
        return args.global_caption, None
    return args.global_caption, read_captions(args.prompts)


def load_and_ask(load_model: Callable[[], Model], story: Story) -> tuple[Model, Iterable[str]]:
    """The model, and the captions of the story's next shots from standard input."""
    if is_typed():
        # Compiled while a person is still thinking of the first prompt.
        logging.info("loading and compiling, so that the first frames come at once …")
        model = load_model()
        warm_up(model, story.video)
        return model, read_prompts(story.next_shot + 1)
    # Nothing is loaded for a pipe that stays empty.
    shots = read_prompts(story.next_shot + 1)
    return load_model(), shots


def read_prompts(shot: int) -> Iterator[str]:
    """Captions from standard input, as they are typed or piped in.

    The first caption is waited for here, so that nothing is started for nothing.

    Args:
      shot: the number of the first shot, from 1.
    """
    # A person at a terminal is asked for each.
    if is_typed():
        lines = ask_lines(sys.stdin, sys.stderr, shot)
    else:
        lines = read_lines(iter(sys.stdin.buffer.readline, b""), "standard input")
    captions = _refuse_commands(lines)
    first = next(captions, None)
    if first is None:
        raise InputError("no prompt came in: write one shot's caption a line")
    return itertools.chain([first], captions)


def _refuse_commands(lines: Iterable[str]) -> Iterator[str]:
    """The captions. Raises InputError at one that was meant as a command."""
    for line in lines:
        if line.startswith("/"):
            command = line.split()[0]
            raise InputError(f"{command} needs another film: give --out FILE{KIND}")
        yield line


def is_typed() -> bool:
    """Whether a person types on standard input. Raises InputError if it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed: give the prompts as a file, --prompts FILE")
    return sys.stdin.isatty()
