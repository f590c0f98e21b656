"""The wrapper of all entry points: a caller's mistake is one line and exit code 2, not a traceback.

Options are argparse's. A recipe is a Python file with a get_config(): a shipped one is found by its
name (`teacher:tiny`), any other by its path (`my/recipe.py`). Each of its fields can be set on the
command line (--config.video.height=128); that part is ml_collections'.
"""

import argparse
import contextlib
import dataclasses
import importlib
import importlib.util
import logging
import numbers
import os
import pathlib
import sys
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from absl import flags

from shotstream_jax import configs
from shotstream_jax.core import terminal
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import claim_gpu_memory

if TYPE_CHECKING:  # imported when a recipe is read: commands without one need not have it
    from ml_collections import ConfigDict

USAGE_ERROR = 2
INTERRUPTED = 130
PROGRAM = "shotstream"
T = TypeVar("T")
# What a user can have set of jax that our programs are not written for.
_JAX_VARIABLES = ("JAX_ENABLE_X64", "JAX_NUMPY_DTYPE_PROMOTION", "JAX_TRANSFER_GUARD")

# A recipe is the user's own code: whatever of these it raises is about the recipe.
_RECIPE_ERRORS = (
    flags.Error,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    ArithmeticError,
    SyntaxError,
    ImportError,
    OSError,
    RuntimeError,
    NameError,
)


class Parser(argparse.ArgumentParser):
    """argparse with our errors; sub-commands are of this class too."""

    def add_recipe(self, default: str = "tiny") -> None:
        """The options --config RECIPE and --config.FIELD=VALUE."""
        self.add_argument(
            "--config",
            metavar="RECIPE",
            default=default,
            help="name of a shipped recipe, NAME or NAME:PRESET, or path of another one, FILE.py; "
            "--config.FIELD=VALUE changes one of its fields (default: %(default)s)",
        )

    def error(self, message: str) -> NoReturn:
        """Raises an InputError in place of argparse's exit."""
        raise InputError(f"{message} (--help shows the options)")

    def parse(self, argv: Sequence[str]) -> tuple[argparse.Namespace, "ConfigDict"]:
        """The options, with the recipe's overrides as `overrides`, and the recipe."""
        args, rest = self.parse_known_args(argv)
        args.overrides = self._overrides(rest)
        # An empty word is mostly a shell variable that is not set.
        for name, value in vars(args).items():
            if value == "" and name != "global_caption":
                self.error(f"--{name.replace('_', '-')} is empty")
        return args, load_config(args.config, args.overrides)

    def _overrides(self, words: Sequence[str]) -> list[str]:
        """The words of overrides, written `--config.x=1` or `--config.x 1`; others are refused."""
        # Without "=" the word after a field's name is its value.
        value_follows = False
        for word in words:
            is_field = word.startswith("--config.")
            if not is_field and not value_follows:
                self.error(f"unknown argument {word}")
            value_follows = is_field and "=" not in word
        return list(words)


def make_parser(module: str, description: str | None) -> Parser:
    """A parser that wants whole option names, and whose help keeps its line breaks.

    module: the entry point's name, for the help; one that `shotstream` has started is named after
    the command, which is then in sys.argv[0] ("shotstream train").
    """
    program = sys.argv[0]
    if not program.startswith(f"{PROGRAM} "):
        program = f"python -m {module}"
    return Parser(
        prog=program,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def recipe_names() -> list[str]:
    """The shipped recipes: the files in configs/ that have a get_config()."""
    names = []
    # Read, not imported: the list is part of every help and error.
    for file in sorted(_recipe_folder().glob("*.py")):
        if "def get_config(" in file.read_text():
            names.append(file.stem)
    return names


def load_config(name: str, overrides: Sequence[str] = ()) -> "ConfigDict":
    """A recipe, with `--config.field=value` overrides.

    name: NAME of a shipped recipe or path FILE.py of any other; what follows a colon is handed to
    its get_config(). Raises InputError if there is none, or if it does not take the argument or an
    override.
    """
    from ml_collections import ConfigDict, config_flags

    recipe, colon, argument = name.partition(":")
    _check_there(recipe)
    arguments = [argument] if colon else []
    # Flags of absl's own that hold nothing but this recipe.
    values = flags.FlagValues()
    argv = ["", *overrides]  # absl expects a program's name first
    try:
        config = _load_module(recipe).get_config(*arguments)
        if not isinstance(config, ConfigDict):
            raise TypeError("get_config() must return a ConfigDict")
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
    except _RECIPE_ERRORS as error:
        raise InputError(f"config {' '.join([name, *overrides])}: {_reason(error)}") from None
    return values.config


def build(cls: type[T], section: "ConfigDict", name: str) -> T:
    """A frozen dataclass from a section of a recipe, nested sections included.

    name: the section's, for messages. Raises InputError if a field is unknown, missing or not of
    its type.
    """
    from ml_collections import ConfigDict

    kinds = typing.get_type_hints(cls)
    _check_names(cls, section, name)
    values = {}
    for field, value in section.items():
        kind: Any = kinds[field]
        # A section becomes the dataclass that its field is declared as.
        is_nested = dataclasses.is_dataclass(kind) and isinstance(value, ConfigDict)
        if is_nested:
            value = build(kind, value, f"{name}.{field}")
        value = _as_kind(value, kind)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"{name}.{field} must be {kind.__name__}, not {value!r}")
        values[field] = value
    return cls(**values)


def _as_kind(value: Any, kind: Any) -> Any:
    """A number as the int or float that a field wants, where it is that number; else as it is."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if kind is float and is_number:
        return float(value)
    if kind is int and is_number and isinstance(value, numbers.Integral):
        return int(value)
    return value


def print_line(line: str) -> None:
    """Writes a line of a result to standard output. Raises InputError if that is closed."""
    terminal.write_result(line + "\n")


def run(main: Callable[[Sequence[str]], Any]) -> NoReturn:
    """Runs an entry point with the command line's arguments, and exits with its code."""
    terminal.prepare_streams()
    _set_up_logging()
    claim_gpu_memory()
    try:
        try:
            with _own_settings():
                main(sys.argv[1:])
        finally:
            terminal.flush_output()
    except InputError as error:
        _fail(str(error))
    except BrokenPipeError:
        _fail("the program that was to read the output has ended")
    except OSError as error:
        # A path that cannot be read or written, wherever that was noticed.
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}")
    except (RuntimeError, AssertionError):
        # jax may have none of the devices that the environment names.
        reason = _why_no_devices()
        if reason is None:
            raise
        _fail(reason)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    """Ends the command with one line."""
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    sys.exit(USAGE_ERROR)


def _why_no_devices() -> str | None:
    """Why jax has no device to compute on, with the remedy; None if it has, or was not asked."""
    if "jax" not in sys.modules:
        return None
    from shotstream_jax.core.devices import why_no_devices

    reason = why_no_devices()
    if reason is None:
        return None
    named = os.environ.get("JAX_PLATFORMS")
    if named:
        return f"{reason}: unset JAX_PLATFORMS={named}, or see `shotstream doctor`"
    return f"{reason}: `shotstream doctor` says what is missing"


def _own_settings() -> contextlib.AbstractContextManager[None]:
    """The package's settings of jax (core/settings); jax is imported only if they may differ."""
    if not any(name in os.environ for name in _JAX_VARIABLES):
        return contextlib.nullcontext()
    from shotstream_jax.core.settings import own_settings

    return own_settings()


def _is_path(recipe: str) -> bool:
    return recipe.endswith(".py") or "/" in recipe or os.sep in recipe


def _recipe_folder() -> pathlib.Path:
    return pathlib.Path(next(iter(configs.__path__)))


def _check_there(recipe: str) -> None:
    """Refuses a path without a file, and a name that no shipped recipe has."""
    known = ", ".join(recipe_names())
    if _is_path(recipe):
        if not os.path.isfile(recipe):
            raise InputError(f"there is no config file {recipe}; by name there are {known}")
    elif recipe not in recipe_names():
        raise InputError(f"no recipe is called {recipe!r}; there are {known}, and paths FILE.py")


def _load_module(recipe: str) -> Any:
    """The module of a recipe, by name or path."""
    if not _is_path(recipe):
        return importlib.import_module(f"{configs.__name__}.{recipe}")
    file = pathlib.Path(recipe).resolve()
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Recipes in a folder of one's own may import each other by the folder's name.
    root = str(file.parents[1])
    sys.path.insert(0, root)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(root)
    return module


def _check_names(cls: type[Any], section: "ConfigDict", name: str) -> None:
    """Refuses fields that the dataclass does not have, and the lack of those without a default."""
    known = set()
    required = set()
    for field in dataclasses.fields(cls):
        known.add(field.name)
        has_factory = field.default_factory is not dataclasses.MISSING
        if field.default is dataclasses.MISSING and not has_factory:
            required.add(field.name)
    # Wrong is what is given without being known, and what is required without being given.
    given = set(section)
    wrong = sorted((given - known) | (required - given))
    if wrong:
        fields = sorted(known)
        raise InputError(f"{name} has unknown or missing fields {wrong}; the fields are {fields}")


def _reason(error: BaseException) -> str:
    """The last line of an error, without the quotes and escapes that nested reprs have left."""
    # Nested reprs: escaped line breaks and quotes, quotes around the whole.
    text = str(error).replace("\\n", " ").replace("\\", "").strip("\"' \n")
    lines = text.splitlines()
    if not lines:
        return type(error).__name__
    if isinstance(error, AttributeError):
        return f"no such field: {lines[-1]}"
    return lines[-1]


def _set_up_logging() -> None:
    """Our own lines plain on stderr; of the libraries only warnings."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)  # importing orbax sets logging up in its own way
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for handler in root.handlers:
        handler.addFilter(_ours_or_warning)


def _ours_or_warning(record: logging.LogRecord) -> bool:
    # Where a device's plugin cannot start, jax logs a traceback, whose last line says why.
    if record.name == "jax._src.xla_bridge" and record.exc_info:
        reason = str(record.exc_info[1]) or repr(record.exc_info[1])
        record.msg = "a plugin of jax does not start: " + " ".join(reason.split())
        record.args = ()
        record.exc_info = None
    package = os.path.dirname(os.path.abspath(__file__))
    return record.levelno > logging.INFO or record.pathname.startswith(package)
