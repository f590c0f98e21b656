"""Standard streams as a command finds them: closed, of any encoding, or read by nobody any more."""

import codecs
import io
import json
import os
import sys

from shotstream_jax.core.errors import InputError

# What stands for the characters of our own texts where the output cannot have them.
_PLAIN = {"…": "...", "×": "x", "→": "->", "·": "-", "–": "-", "’": "'", "²": "^2", "│": "|"}
_PLAIN_ERRORS = "shotstream_plain"  # the name of `_replace_character` for Python's encoders


def prepare_streams() -> None:
    """Output can be written in any encoding, and a closed stream harms nobody."""
    _fill_closed_descriptors()
    # Messages to a closed screen go nowhere; a result that goes nowhere is an error (write_result).
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    codecs.register_error(_PLAIN_ERRORS, _replace_character)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAIN_ERRORS)


def write_result(text: str) -> None:
    """Writes to standard output. Raises InputError if it is closed."""
    if sys.stdout is None:
        raise InputError("standard output is closed: there is no place for the result")
    sys.stdout.write(text)


def flush_output() -> None:
    """Hands on what standard output still holds. Raises OSError if it cannot be written."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # What cannot be written is dropped, or Python would fail over it once more at its end.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        raise


def _fill_closed_descriptors() -> None:
    """Opens nothing in place of each closed standard stream.

    Or the next file that is opened, which may be the film, gets the stream's number, and whatever
    a library writes to that.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _replace_character(error: UnicodeError) -> tuple[str, int]:
    """What is written for one character that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    # As JSON has it, \u00e4, so that reports stay valid.
    plain = _PLAIN.get(character) or json.dumps(character)[1:-1]
    return plain, error.start + 1
