"""Story scripts: a global caption and one caption a shot, from a file or as they are typed."""

import json
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

from shotstream_jax.core.errors import InputError
from shotstream_jax.text.tokenizer import clean


class Script(NamedTuple):
    """What the user wrote."""

    global_caption: str
    shots: tuple[str, ...]


def shot_prompt(global_caption: str, shot: int, caption: str) -> str:
    """The prompt of shot k (from 0), with nothing between the global caption and `shot` (spec page 2)."""
    return f"{global_caption}shot{shot}:{caption}"


def check_caption(caption: str, where: str) -> str:
    """Refuses an empty caption."""
    if not clean(caption):
        raise InputError(f"{where} is empty: write what the shot shows")
    return caption


def read_script(path: str | pathlib.Path) -> Script:
    """A story file: JSON with `global_caption`, `shot1`, `shot2`, … Errors name the key and its line."""
    try:
        text = pathlib.Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read story {path}: {error.strerror}") from None
    except ValueError as error:  # not UTF-8, or a path that cannot be one
        raise InputError(f"cannot read story {path}: {error}") from None
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} line {error.lineno} column {error.colno} is no valid JSON: {error.msg}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path} is no story: {error}") from None
    if (
        not isinstance(pairs, list)
        or any(not isinstance(pair, tuple) for pair in pairs)
        or not pairs
    ):
        raise InputError(
            f'{path} must be one JSON object: {{"global_caption": "…", "shot1": "…", "shot2": "…"}}'
        )
    return _script(str(path), text, pairs)


def _script(path: str, text: str, pairs: list[tuple[str, object]]) -> Script:
    def at(key: str, occurrence: int = 0) -> str:
        places = [match.start() for match in re.finditer(rf'"{re.escape(key)}"\s*:', text)]
        line = text.count("\n", 0, places[occurrence]) + 1 if occurrence < len(places) else "?"
        return f"{path} line {line}: {key}"

    captions: dict[str, str] = {}
    for key, value in pairs:
        if key in captions:
            raise InputError(f"{at(key, 1)} stands there twice: number the shots shot1, shot2, …")
        if key != "global_caption" and not re.fullmatch(r"shot[1-9][0-9]{0,5}", key):
            raise InputError(
                f"{at(key)} is not known: the keys are global_caption, shot1, shot2, …"
            )
        if not isinstance(value, str):
            raise InputError(f"{at(key)} must be text, not {json.dumps(value)[:40]}")
        captions[key] = check_caption(value, at(key))
    if "global_caption" not in captions:
        raise InputError(f"{path} has no global_caption: say there what all shots share")
    shots = sorted(int(key[4:]) for key in captions if key != "global_caption")
    for expected, number in enumerate(shots, 1):
        if number != expected:
            raise InputError(f"{at(f'shot{number}')} follows a gap: shot{expected} is missing")
    if not shots:
        raise InputError(f"{path} has no shots: add shot1")
    return Script(captions["global_caption"], tuple(captions[f"shot{n}"] for n in shots))


def read_lines(lines: Iterable[bytes], source: str) -> Iterator[str]:
    """One caption a line (UTF-8), handed on as soon as it is there; an empty line is an error that names it."""
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{source} line {number} is no UTF-8 text: {error.reason}") from None
        yield check_caption(text, f"{source} line {number}")


def ask_lines(terminal: TextIO, screen: TextIO, shot: int = 1) -> Iterator[str]:
    """Asks a person for one caption after the other, from `shot` on; end of input (Ctrl-D) ends the story."""
    while True:
        screen.write(f"shot {shot}> ")
        screen.flush()
        line = terminal.readline()
        if not line:
            screen.write("\n")
            return
        if line.strip():
            yield line.strip()
            shot += 1
