"""The command `shotstream`: one entry to all others, `shotstream COMMAND …`.

A command is a module with main(argv), which is imported only when it is called. `python -m
shotstream_jax` is the same command, and `python -m shotstream_jax.train` is `shotstream train`.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import shotstream_jax
from shotstream_jax import cli
from shotstream_jax.core import terminal
from shotstream_jax.core.errors import InputError


class Command(NamedTuple):
    """module: has main(argv). summary: what it does, in a line."""

    module: str
    summary: str


COMMANDS = {
    "generate": Command("shotstream_jax.generate.__main__", "stream a story to an mp4"),
    "serve": Command("shotstream_jax.serve.__main__", "write stories in the browser as they play"),
    "world": Command("shotstream_jax.world.__main__", "draw stories with captions, as clips"),
    "prepare": Command("shotstream_jax.prepare.__main__", "films into clips with captions"),
    "precompute": Command("shotstream_jax.precompute.__main__", "encode clips for training, once"),
    "train": Command("shotstream_jax.train.__main__", "run a stage of training, or go on with it"),
    "ode-pairs": Command("shotstream_jax.train.ode_pairs", "make the teacher's pairs for stage 2"),
    "convert": Command("shotstream_jax.convert.__main__", "public weight files into JAX, and back"),
    "eval": Command("shotstream_jax.eval.__main__", "score generated stories of the drawn world"),
    "score": Command("shotstream_jax.score.__main__", "score films of any origin"),
    "bench": Command("shotstream_jax.bench.__main__", "how fast every part runs here"),
    "plan": Command("shotstream_jax.plan", "does a stream fit a GPU's memory, and with what"),
    "doctor": Command("shotstream_jax.doctor", "what this machine has, and what is missing"),
}

HELP = """\
usage: shotstream COMMAND [OPTION …]

Multi-shot video, streamed shot by shot while the story is being typed.

{commands}

first steps:
  shotstream doctor                                   is everything there?
  shotstream plan --gpu 24                            what fits a GPU of 24 GB?
  shotstream generate --story story.json --out story.mp4
  shotstream generate --prompts - --global-caption "A cartoon about a green frog."
                                                      one shot's caption a line, as you type

  A story file is JSON. The tiny model, which needs no download, knows the words of a drawn world:
  {{"global_caption": "A cartoon about a green frog, in the meadow.",
   "shot1": "The frog is dancing in the meadow.", "shot2": "The frog jumps."}}

training (each recipe has the presets tiny and wan-1.3b, the paper's):
  shotstream train --config autoencoder:tiny --workdir out/autoencoder
  shotstream train --config teacher:wan-1.3b --workdir runs/teacher --config.run.batch=32

recipes by name:
  {recipes}
  Your own is named by its path: --config my/recipe.py

`shotstream COMMAND --help` explains a command, `shotstream --version` is the version.
"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command that the first word names; exits with its code."""
    words = list(sys.argv[1:] if argv is None else argv)
    terminal.prepare_streams()  # before a command's modules open files
    # A known command gets all further words, --help among them.
    if words and words[0] in COMMANDS:
        run_command(words[0], words[1:])
    sys.argv = [cli.PROGRAM, *words]
    cli.run(help_or_version)


def run_command(name: str, words: Sequence[str]) -> NoReturn:
    """Hands over to a command, whose help then has the command's name."""
    # Read when jax is imported: of XLA's own messages only warnings.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.argv = [f"{cli.PROGRAM} {name}", *words]
    module = importlib.import_module(COMMANDS[name].module)
    cli.run(module.main)


def help_or_version(words: Sequence[str]) -> None:
    """The help or the version. Raises InputError if there is no such command."""
    if not words or words[0] in ("-h", "--help", "help"):
        cli.print_line(help_text())
        return
    if words[0] in ("-V", "--version"):
        cli.print_line(f"shotstream {shotstream_jax.__version__}")
        return
    # A slip of the keyboard gets a suggestion, anything else the list.
    similar = difflib.get_close_matches(words[0], COMMANDS, n=1)
    hint = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(COMMANDS)}"
    raise InputError(f"no command is called {words[0]!r}; {hint} (shotstream --help)")


def help_text() -> str:
    """All commands, first steps and recipes."""
    lines = ["commands:"]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:12}{command.summary}")
    recipes = ", ".join(cli.recipe_names())
    return HELP.format(commands="\n".join(lines), recipes=recipes).rstrip()


if __name__ == "__main__":
    main()
