"""The one wrapper of all entry points: a caller's mistake is one line and exit code 2, never a traceback.

Options are argparse's. A recipe is a Python file with get_config(), and any of its fields can be set on the command
line (--config.video.height=128); that part is ml_collections'.
"""

import argparse
import dataclasses
import logging
import os
import pathlib
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from absl import flags
from ml_collections import ConfigDict, config_flags

from shotstream_jax.core.errors import InputError

USAGE_ERROR, INTERRUPTED = 2, 130
T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """argparse with our errors; sub-commands are of this class too."""

    def add_recipe(self, default: str = "configs/tiny.py") -> None:
        """The options --config FILE and --config.FIELD=VALUE."""
        self.add_argument(
            "--config",
            metavar="FILE",
            default=default,
            help="recipe; --config.FIELD=VALUE changes one of its fields (default: %(default)s)",
        )

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help shows the options)")

    def parse(self, argv: Sequence[str]) -> tuple[argparse.Namespace, ConfigDict]:
        """The options, with the recipe's overrides as `overrides`, and the recipe."""
        args, rest = self.parse_known_args(argv)
        overrides, named = [], False
        for word in rest:  # `--config.x=1` and `--config.x 1`
            if not (word.startswith("--config.") or named):
                self.error(f"unknown argument {word}")
            overrides.append(word)
            named = word.startswith("--config.") and "=" not in word
        for name, value in vars(args).items():
            if value == "" and name != "global_caption":
                self.error(f"--{name.replace('_', '-')} is empty")
        args.overrides = overrides
        return args, load_config(args.config, overrides)


def make_parser(module: str, description: str) -> Parser:
    """A parser that wants whole option names, and whose help keeps its line breaks."""
    return Parser(
        prog=f"python -m {module}",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def load_config(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """A recipe, FILE.py or FILE.py:argument, with `--config.field=value` overrides."""
    file = pathlib.Path(path.partition(":")[0])
    if not os.path.isfile(file):
        raise InputError(f"there is no config file {file}")
    root = str(file.resolve().parents[1])  # recipes import their parents as `configs.…`
    argv, values = ["", f"--config={path}", *overrides], flags.FlagValues()
    sys.path.insert(0, root)
    try:
        config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
        values(argv)
        if not isinstance(values.config, ConfigDict):
            raise TypeError("get_config() must return a ConfigDict")
        return values.config
    except _RECIPE_ERRORS as error:
        raise InputError(f"config {' '.join([path, *overrides])}: {_reason(error)}") from None
    finally:
        sys.path.remove(root)


# A recipe is the user's own code: whatever it raises is about the recipe.
_RECIPE_ERRORS = (flags.Error, LookupError, AttributeError, TypeError, ValueError, ArithmeticError)
_RECIPE_ERRORS += (SyntaxError, ImportError, OSError, RuntimeError, NameError)


def _reason(error: BaseException) -> str:
    """The last line of an error, without the quotes and escapes that nested reprs have left."""
    words = str(error).replace("\\n", " ").replace("\\", "").strip("\"' \n").splitlines()
    text = words[-1] if words else type(error).__name__
    return f"no such field: {text}" if isinstance(error, AttributeError) else text


def build(cls: type[T], section: ConfigDict, name: str) -> T:
    """A frozen dataclass from a part of a recipe, and so on inwards. Wrong fields and types are named."""
    kinds = typing.get_type_hints(cls)
    required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
    if wrong := sorted((set(section) - set(kinds)) | (required - set(section))):
        raise InputError(
            f"{name} has unknown or missing fields {wrong}; the fields are {sorted(kinds)}"
        )
    values = {}
    for field, value in section.items():
        nested = dataclasses.is_dataclass(kinds[field]) and isinstance(value, ConfigDict)
        values[field] = build(kinds[field], value, f"{name}.{field}") if nested else value
        if not isinstance(values[field], kinds[field]):
            raise InputError(f"{name}.{field} must be {kinds[field].__name__}, not {value!r}")
    return cls(**values)


def say(line: str) -> None:
    """Prints a result."""
    sys.stdout.write(line + "\n")


def _set_up_logging() -> None:
    """Our own lines plain on stderr; of the libraries only warnings."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if type(h) is logging.StreamHandler]:
        root.removeHandler(handler)  # importing orbax sets logging up in its own way
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    package = os.path.dirname(os.path.abspath(__file__))
    for handler in root.handlers:
        handler.addFilter(
            lambda record: record.levelno > logging.INFO or record.pathname.startswith(package)
        )


def run(main: Callable[[Sequence[str]], Any]) -> NoReturn:
    """Runs an entry point and exits with its code."""
    _set_up_logging()
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(USAGE_ERROR)
    except OSError as error:  # a path that cannot be looked at, wherever that was noticed
        sys.stderr.write(f"error: {error.filename or ''}: {error.strerror or error}\n")
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    sys.exit(0)
