"""Lines from a person: editing, a history, completion. And lines from a script.

Both are read in a thread of their own, while shots are made.
"""

import contextlib
import glob
import os
import pathlib
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.storyteller.commands import (
    CAPTION,
    MISTAKE,
    StoryLine,
    completions,
    help_page,
    is_file_next,
    parse,
)
from shotstream_jax.generate.storyteller.inbox import END, Inbox
from shotstream_jax.generate.storyteller.screen import Terminal
from shotstream_jax.text.prompts import read_lines
from shotstream_jax.text.tokenizer import clean

_PROMPT = "> "
_LINES = 1000  # of the history


def read_piped(inbox: Inbox) -> None:
    """Starts reading lines from standard input, which is a pipe or a file."""
    # A stream of its own: Python could not close one that a thread still reads from.
    stream = os.fdopen(os.dup(sys.stdin.fileno()), "rb")

    def read() -> None:
        """All lines; a mistake is the last one."""
        try:
            for line in read_lines(iter(stream.readline, b""), "standard input"):
                inbox.put(parse(line))
        except InputError as error:
            inbox.put(StoryLine(MISTAKE, str(error)))
        inbox.put(END)

    threading.Thread(target=read, daemon=True).start()


def read_typed(
    inbox: Inbox,
    screen: Terminal,
    words: Callable[[str], str],
    note: Callable[[str], object],
) -> None:
    """Starts asking a person for lines.

    words: what /words answers. note: says what there is to say about a caption.
    """

    def ask() -> None:
        """One line after the other, to the end (Ctrl-D) or to /quit."""
        command = None
        while command is None or command.name != "quit":
            line = _ask(screen)
            if line is None:
                screen.say("")  # below the prompt
                inbox.put(END)
                return
            try:
                command = parse(line) if clean(line) else None
                if command is not None:
                    _enter(command)
            except InputError as error:
                screen.say(str(error))

    def _enter(command: StoryLine) -> None:
        """A command of which nothing has to wait is answered at once."""
        if command.name == "help":
            screen.say(help_page())
            return
        if command.name == "words":
            screen.say(words(command.text))
            return
        if command.name in (CAPTION, "retell"):
            note(command.text)
        inbox.put(command)

    threading.Thread(target=ask, daemon=True).start()


def _ask(screen: Terminal) -> str | None:
    """A line; None at the end."""
    screen.is_asking = True
    try:
        return input(_PROMPT)
    except EOFError:
        return None
    except UnicodeDecodeError:
        raise InputError("that was not UTF-8 text: write it again") from None
    finally:
        screen.is_asking = False


@contextlib.contextmanager
def edited_lines(words: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Inside, lines are edited, remembered and completed; afterwards the terminal is as it was.

    words: that are offered. Gives what puts the terminal back, for a process that ends at once.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def put_back() -> None:
        """The terminal's own settings: a line that is being typed changes them."""
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    readline = _readline()
    if readline is not None:
        _prepare(readline, words)
    try:
        yield put_back
    finally:
        put_back()
        if readline is not None:
            _remember(readline)


def _readline() -> ModuleType | None:
    """Python's line editor; None where it was built without one."""
    try:
        import readline
    except ImportError:
        return None
    return readline


def history_file() -> pathlib.Path:
    """Where the lines of earlier tellings are kept."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return pathlib.Path(home) / "shotstream" / "history"


def _prepare(readline: ModuleType, words: Sequence[str]) -> None:
    """History and completion."""
    with contextlib.suppress(OSError):
        readline.read_history_file(history_file())
    found: list[str] = []

    def complete(word: str, number: int) -> str | None:
        """The number-th way in which a word can go on."""
        if number == 0:
            before = readline.get_line_buffer()[: readline.get_begidx()]
            found[:] = _files(word) if is_file_next(before) else completions(before, word, words)
        return found[number] if number < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")


def _files(beginning: str) -> list[str]:
    """Files and folders whose names begin like this."""
    found = []
    for path in sorted(glob.glob(glob.escape(beginning) + "*")):
        found.append(f"{path}/" if os.path.isdir(path) else path)
    return found


def _remember(readline: ModuleType) -> None:
    """Keeps the last lines; a disk that takes none harms nobody."""
    path = history_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        readline.set_history_length(_LINES)
        readline.write_history_file(path)
