"""Story scripts: a global caption and one caption a shot, from a file or as they are typed."""

import codecs
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple, TextIO

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.values import as_path
from shotstream_jax.text.tokenizer import clean

_GLOBAL = "global_caption"
_SHOT = re.compile(r"shot([1-9][0-9]{0,5})")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_MOST_CHARACTERS = 20_000
_VIDEO = "video_path"  # beside the captions in samples for training; of no use here
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


def check_caption(caption: object, where: str) -> str:
    """The caption as plain text.

    Raises InputError, which names `where` it stands, if it is empty, too long or not text.
    """
    text = check_text(caption, where)
    if not clean(text):
        raise InputError(f"{where} is empty: write what the shot shows")
    return text


def check_text(text: object, where: str) -> str:
    """Plain text, perhaps empty, of at most 20,000 characters: a prompt's place ends far before.

    Raises InputError, which names `where` it stands, for anything else.
    """
    if not isinstance(text, str):
        kind = type(text).__name__
        raise InputError(f"{where} must be text, not {text!r:.40} ({kind})")
    if len(text) > _MOST_CHARACTERS:
        raise InputError(
            f"{where} has {len(text)} characters, at most {_MOST_CHARACTERS} are taken: shorten it"
        )
    # What no text file can hold: halves of characters, and the zeros of UTF-16 read as UTF-8.
    is_text = "\0" not in text and not _HALF_CHARACTER.search(text)
    if not is_text:
        raise InputError(f"{where} is not UTF-8 text: {text[:40]!r}")
    return str(text)


def check_shots(
    shots: object, first: int = 0, check: Callable[[object, str], Any] = check_caption
) -> Iterable[Any]:
    """The captions of a story's next shots: a list that is checked as a whole, or a lazy iterable.

    A lazy one's captions are to be checked as they come.

    Args:
      shots: what a caller gave.
      first: the number of the first shot, from 0, for messages.
      check: (what stands for a shot, where) → the shot, or InputError.

    Raises:
      InputError: for what is not several captions, or a list with a caption that is none.
    """
    if isinstance(shots, str | bytes):
        raise InputError(f"shots must be several captions, not one text: [{shots[:40]!r}]")
    if isinstance(shots, Mapping):
        raise InputError(
            "shots is a dict, whose order of shots is not known: give its captions as a list"
        )
    if isinstance(shots, Set):
        raise InputError("shots is a set, which has no order: give the captions as a list")
    if not isinstance(shots, Iterable):
        raise InputError(f"shots must be captions, a list or an iterator, not {shots!r:.40}")
    # An array of texts is a list too.
    is_list = isinstance(shots, Sequence | np.ndarray)
    if not is_list:
        return shots
    captions = []
    for number, caption in enumerate(shots, first + 1):
        captions.append(check(caption, f"the caption of shot {number}"))
    return captions


def read_script(path: str | pathlib.Path, ignore_others: bool = False) -> Script:
    """A story file: JSON with `global_caption`, `shot1`, `shot2`, …; `video_path` is ignored.

    ignore_others: any other key is ignored too, where the number of shots is known from elsewhere.
    Raises InputError, which names the key and its line, if the file is not a story.
    """
    try:
        content = as_path(path, "the story file").read_bytes()
    except OSError as error:
        raise InputError(f"cannot read story {path}: {error.strerror}") from None
    text = _decode(content, str(path))
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
    return _StoryFile(str(path), text, ignore_others).script(pairs)


def _is_object(pairs: object) -> bool:
    """Whether JSON read as pairs was an object with keys; an array is a list of other things."""
    if not isinstance(pairs, list) or not pairs:
        return False
    return all(isinstance(pair, tuple) for pair in pairs)


class _StoryFile:
    """A story file's text, to check its keys and to name the line of a mistake."""

    def __init__(self, path: str, text: str, ignore_others: bool) -> None:
        self._path = path
        self._text = text
        self._ignore_others = ignore_others

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
            is_caption = key == _GLOBAL or _SHOT.fullmatch(key)
            if not is_caption and (self._ignore_others or key == _VIDEO):
                continue
            if not is_caption:
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


def _decode(content: bytes, where: str) -> str:
    """Bytes as text in UTF-8. Raises InputError, which names `where` they stand."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{where} is UTF-16 text: save it as UTF-8")
    # "sig": a byte order mark at the start is not part of the text.
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not UTF-8 text (byte {error.start + 1}): save it as UTF-8"
        ) from None


def read_captions(path: str | pathlib.Path) -> list[str]:
    """A file with one caption a line; blank lines are skipped.

    Raises InputError, which names the file and the line, if there is no caption or one is no text.
    """
    try:
        content = as_path(path, "the prompts' file").read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    captions = list(read_lines(content.splitlines(), str(path)))
    if not captions:
        raise InputError(f"{path} has no prompts: write one shot's caption a line")
    return captions


def read_lines(lines: Iterable[bytes], source: str) -> Iterator[str]:
    """One caption a line (UTF-8), handed on as soon as it is there; blank lines are skipped.

    Raises InputError, which names the source and the line, if a line is not UTF-8.
    """
    for number, line in enumerate(lines, 1):
        where = f"{source} line {number}"
        text = _decode(line, where).strip()
        if clean(text):
            yield check_caption(text, where)


def ask_lines(
    terminal: TextIO,
    screen: TextIO,
    shot: int = 1,
) -> Iterator[str]:
    """Asks a person for one caption after the other, from shot number `shot` on.

    A blank line is asked again. The end of the input (Ctrl-D) ends the story.
    """
    while True:
        screen.write(f"shot {shot}> ")
        screen.flush()
        try:
            line = terminal.readline()
        except UnicodeDecodeError:
            screen.write("that was not UTF-8 text: write it again\n")
            continue
        if not line:
            screen.write("\n")
            return
        caption = line.strip()
        if clean(caption):
            yield check_caption(caption, f"the caption of shot {shot}")
            shot += 1
