"""Story scripts: a global caption and one caption a shot, from a file or as they are typed."""

import json
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

from shotstream_jax.core.errors import InputError
from shotstream_jax.text.tokenizer import clean

_GLOBAL = "global_caption"
_SHOT = re.compile(r"shot([1-9][0-9]{0,5})")
_EXAMPLE = '{"global_caption": "…", "shot1": "…", "shot2": "…"}'


class Script(NamedTuple):
    """What the user wrote: the caption that all shots share, and one for each shot in order."""

    global_caption: str
    shots: tuple[str, ...]


def shot_prompt(
    global_caption: str,
    shot: int,
    caption: str,
) -> str:
    """The prompt of shot k, from 0 (docs/method.md, section 2).

    Nothing stands between the global caption and `shot`.
    """
    return f"{global_caption}shot{shot}:{caption}"


def check_caption(caption: str, where: str) -> str:
    """The caption; InputError, which names `where` it stands, if it is empty."""
    if not clean(caption):
        raise InputError(f"{where} is empty: write what the shot shows")
    return caption


def read_script(path: str | pathlib.Path) -> Script:
    """A story file: JSON with `global_caption`, `shot1`, `shot2`, …

    Raises InputError, which names the key and its line, if the file is not a story.
    """
    try:
        text = pathlib.Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read story {path}: {error.strerror}") from None
    except ValueError as error:  # not UTF-8, or a path that cannot be one
        raise InputError(f"cannot read story {path}: {error}") from None
    try:
        # As pairs, not as a dict, so that a key that is given twice is seen.
        pairs = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} line {error.lineno} column {error.colno} is not valid JSON: {error.msg}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path} is not a valid story file: {error}") from None
    if not _is_object(pairs):
        raise InputError(f"{path} must be one JSON object: {_EXAMPLE}")
    return _StoryFile(str(path), text).script(pairs)


def _is_object(pairs: object) -> bool:
    """Whether JSON read as pairs was an object with keys; an array is a list of other things."""
    if not isinstance(pairs, list) or not pairs:
        return False
    return all(isinstance(pair, tuple) for pair in pairs)


class _StoryFile:
    """A story file's text, to check its keys and to name the line of a mistake."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text

    def script(self, pairs: list[tuple[str, object]]) -> Script:
        """The script of the file's keys and values."""
        captions = self._captions(pairs)
        if _GLOBAL not in captions:
            raise InputError(f"{self._path} has no {_GLOBAL}: write there what all shots share")
        global_caption = captions.pop(_GLOBAL)
        numbers = sorted(int(key.removeprefix("shot")) for key in captions)
        if not numbers:
            raise InputError(f"{self._path} has no shots: add shot1")
        # Shots may stand in any order, but none may be missing.
        for expected, number in enumerate(numbers, 1):
            if number != expected:
                where = self._where(f"shot{number}")
                raise InputError(f"{where} follows a gap: shot{expected} is missing")
        shots = tuple(captions[f"shot{number}"] for number in numbers)
        return Script(global_caption, shots)

    def _captions(self, pairs: list[tuple[str, object]]) -> dict[str, str]:
        """Captions by key; every key must be known and given once."""
        captions: dict[str, str] = {}
        for key, value in pairs:
            if key in captions:
                where = self._where(key, occurrence=1)
                raise InputError(f"{where} is given twice: number the shots shot1, shot2, …")
            where = self._where(key)
            if key != _GLOBAL and not _SHOT.fullmatch(key):
                raise InputError(f"{where} is not known: the keys are {_GLOBAL}, shot1, shot2, …")
            if not isinstance(value, str):
                found = json.dumps(value)
                raise InputError(f"{where} must be text, not {found[:40]}")
            captions[key] = check_caption(value, where)
        return captions

    def _where(self, key: str, occurrence: int = 0) -> str:
        """File, line and key; line "?" if the key is written with escapes."""
        pattern = rf'"{re.escape(key)}"\s*:'
        places = list(re.finditer(pattern, self._text))
        line = "?"
        if occurrence < len(places):
            start = places[occurrence].start()
            before = self._text.count("\n", 0, start)
            line = str(before + 1)
        return f"{self._path} line {line}: {key}"


def read_lines(lines: Iterable[bytes], source: str) -> Iterator[str]:
    """One caption a line (UTF-8), handed on as soon as it is there.

    Raises InputError, which names the source and the line, if a line is empty or not UTF-8.
    """
    for number, line in enumerate(lines, 1):
        where = f"{source} line {number}"
        # "sig": a byte order mark at the start is not part of the caption.
        try:
            text = line.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{where} is not UTF-8 text: {error.reason}") from None
        yield check_caption(text, where)


def ask_lines(
    terminal: TextIO,
    screen: TextIO,
    shot: int = 1,
) -> Iterator[str]:
    """Asks a person for one caption after the other, from shot number `shot` on.

    The end of the input (Ctrl-D) ends the story.
    """
    while True:
        screen.write(f"shot {shot}> ")
        screen.flush()
        line = terminal.readline()
        if not line:
            screen.write("\n")
            return
        caption = line.strip()
        if caption:  # an empty line is asked again
            yield caption
            shot += 1
