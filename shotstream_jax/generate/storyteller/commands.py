"""What a line means: a caption, or a command that begins with a slash. Pure functions."""

import bisect
import difflib
import math
from collections.abc import Sequence
from typing import NamedTuple

from shotstream_jax.core.errors import InputError
from shotstream_jax.text.prompts import check_caption

CAPTION = "caption"  # the name of a line without a slash
MISTAKE = "mistake"  # of a script's line that means nothing; its text says why
# Of each command: what follows it, and what it does.
FORMS = {
    "take": ("", "another take of the last shot, which takes its place"),
    "cut": ("", "end the running shot after its chunk, and keep it"),
    "retell": ("CAPTION", "another caption for the running shot, from its next chunk on"),
    "back": ("N", "go back to after shot N; 0 is the beginning"),
    "undo": ("", "the story as it stood before the last shot, take or way back"),
    "pin": ("SHOT:FRAME", "a frame stays in the context of all that follows; both from 1"),
    "picture": ("FILE", "the same with a picture of your own: PNG, JPEG, WebP"),
    "unpin": ("", "no frame or picture stays any more"),
    "style": (
        "FILE STRENGTH",
        "a LoRA file at this strength from the next chunk on; 0 for none",
    ),
    "fork": ("NAME", "go on in a kept story of this name; the one so far stays as it is"),
    "words": ("[BEGINNING]", "the words that the model knows"),
    "help": ("", "this list"),
    "quit": ("", "end the running shot after its chunk, and finish the film"),
}
_FILES = ("/picture ", "/style ")  # what follows these is a file's name


class StoryLine(NamedTuple):
    """A line's meaning.

    name: one of FORMS, CAPTION or MISTAKE.
    text: the caption, file or name that follows it.
    shot, frame: the numbers that follow it, from 1.
    strength: that follows a style's file.
    """

    name: str
    text: str = ""
    shot: int = 0
    frame: int = 0
    strength: float = 0.0


def written(command: StoryLine) -> str:
    """A line that means the command."""
    if command.name == CAPTION:
        return command.text
    if command.name == "pin":
        return f"/pin {command.shot}:{command.frame}"
    if command.name == "style":
        return f"/style {command.text} {command.strength:g}"
    return f"/{command.name} {command.text}".rstrip()


def count(number: int, what: str) -> str:
    """So many of something, as one says it."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def parse(line: str) -> StoryLine:
    """The meaning of a line that is not blank.

    Raises InputError, one line with the remedy, for a command that is not known or not complete.
    """
    text = line.strip()
    if not text.startswith("/"):
        return StoryLine(CAPTION, check_caption(text, "the caption"))
    name, _, rest = text[1:].partition(" ")
    if name not in FORMS:
        near = difflib.get_close_matches(name, FORMS, 1)
        guess = f": /{near[0]}?" if near else ""
        raise InputError(f"there is no /{name}{guess} (/help lists the commands)")
    rest = rest.strip()
    form, _ = FORMS[name]
    if bool(form) != bool(rest) and not form.startswith("["):
        raise InputError(f"write it as /{name} {form}".rstrip())
    if name == "retell":
        return StoryLine(name, check_caption(rest, "the caption"))
    if name == "back":
        return StoryLine(name, shot=_number(name, rest))
    if name == "pin":
        shot, _, frame = rest.partition(":")
        return StoryLine(name, shot=_number(name, shot, 1), frame=_number(name, frame, 1))
    if name == "style":
        file, _, strength = rest.rpartition(" ")
        return StoryLine(name, file.strip(), strength=_strength(file, strength))
    return StoryLine(name, rest)


def _strength(file: str, text: str) -> float:
    """A style's strength, or InputError."""
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not file or not math.isfinite(strength):
        raise InputError("write it as /style FILE STRENGTH, like /style film.safetensors 0.6")
    return strength


def _number(name: str, text: str, least: int = 0) -> int:
    """A whole number, or InputError."""
    is_number = text.isascii() and text.isdecimal() and len(text) < 10
    if not is_number or int(text) < least:
        form, _ = FORMS[name]
        example = "/pin 2:5" if name == "pin" else "/back 2"
        raise InputError(f"write it as /{name} {form}, like {example}, not {text!r:.40}")
    return int(text)


def help_page() -> str:
    """All commands, a line each."""
    lines = ["A line is what the next shot shows, or a command:"]
    for name, (form, what) in FORMS.items():
        lines.append(f"  {f'/{name} {form}':<20} {what}")
    lines.append("Ctrl-C ends the running shot after its chunk, a second one leaves.")
    return "\n".join(lines)


def completions(before: str, word: str, words: Sequence[str]) -> list[str]:
    """How a word can go on.

    before: the line up to the word. word: as far as it is written. words: what the model knows, in
    alphabetical order.
    """
    if not before.strip() and word.startswith("/"):
        return [f"/{name} " for name in FORMS if name.startswith(word[1:])]
    if before.startswith(_FILES):
        return []
    # As the model has it, whatever a sentence begins with.
    start = bisect.bisect_left(words, word.lower())
    found = []
    for known in words[start:]:
        if not known.startswith(word.lower()):
            break
        found.append(word + known[len(word) :])
    return found


def is_file_next(before: str) -> bool:
    """Whether what follows in a line is a file's name."""
    return before.startswith(_FILES)
