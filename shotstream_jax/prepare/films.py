"""Which films: files, folders, patterns and tables. A film's name has a checksum of its content.

So a film that is moved keeps its work, one that is replaced gets new work, and two copies of one
film are seen.
"""

import csv
import glob
import hashlib
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from shotstream_jax.core.errors import InputError

ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".wmv")
COLUMN = "video_path"
_PATTERN_SIGNS = re.compile(r"[*?\[]")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_STEM = 40  # characters
_DIGEST = 8  # characters
_PIECE = 2**16  # bytes


class FilmFile(NamedTuple):
    """A film to prepare. name: of its folder and its clips."""

    name: str
    path: pathlib.Path


def find_films(words: Sequence[str]) -> list[FilmFile]:
    """The films that the words of the command name, in order, each once.

    A word is a film, a folder (all films in it and below), a pattern with * or ?, a CSV with the
    column video_path, or a .txt with a path a line; paths in both are relative to their file.
    Raises InputError for a word that names nothing.
    """
    paths: list[pathlib.Path] = []
    for word in words:
        paths += _paths_of(word)
    # Two names for one film are one film.
    films: dict[str, FilmFile] = {}
    for path in paths:
        digest = content_digest(path)
        if digest in films and films[digest].path.resolve() != path.resolve():
            logging.warning("%s is a copy of %s and is left out", path, films[digest].path)
        films.setdefault(digest, FilmFile(_name(path, digest), path))
    return list(films.values())


def content_digest(path: pathlib.Path) -> str:
    """A checksum of a file's size, beginning and end. Raises InputError."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            content = file.read(_PIECE)
            file.seek(max(0, size - _PIECE))
            content += file.read(_PIECE)
    except OSError as error:
        raise InputError(f"cannot read film {path}: {error.strerror}") from None
    return hashlib.sha256(f"{size} ".encode() + content).hexdigest()[:_DIGEST]


def _name(path: pathlib.Path, digest: str) -> str:
    """The file's name in plain letters, without its end, and the checksum."""
    stem = _NOT_PLAIN.sub("_", path.stem)[:_LONGEST_STEM].strip("._") or "film"
    return f"{stem}-{digest}"


def _paths_of(word: str) -> list[pathlib.Path]:
    """What one word of the command names."""
    path = pathlib.Path(word)
    if path.is_dir():
        return _checked(word, _films_below(path))
    if path.suffix.lower() == ".csv" and path.is_file():
        return _checked(word, _table_paths(path))
    if path.suffix.lower() == ".txt" and path.is_file():
        return _checked(word, _list_paths(path))
    if not path.exists() and _PATTERN_SIGNS.search(word):
        found = sorted(pathlib.Path(name) for name in glob.glob(word, recursive=True))
        films = []
        for one in found:
            films += _films_below(one) if one.is_dir() else [one]
        return _checked(word, films)
    if not path.is_file():
        raise InputError(f"there is no film {word}: name files, folders, patterns or tables")
    return [path]


def _checked(word: str, paths: list[pathlib.Path]) -> list[pathlib.Path]:
    """The paths, of which there must be some."""
    if not paths:
        raise InputError(f"{word} names no film; films end in {', '.join(ENDINGS)}")
    return paths


def _films_below(folder: pathlib.Path) -> list[pathlib.Path]:
    films = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS and path.is_file():
            films.append(path)
    return films


def _table_paths(path: pathlib.Path) -> list[pathlib.Path]:
    """The column video_path of a table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if COLUMN not in (reader.fieldnames or ()):
                raise InputError(f"{path} has no column {COLUMN}, which says where a film is")
            cells = [(row[COLUMN] or "").strip() for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable CSV in UTF-8: {error}") from None
    return [path.parent / cell for cell in cells if cell]


def _list_paths(path: pathlib.Path) -> list[pathlib.Path]:
    """A path a line; empty lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable text in UTF-8: {error}") from None
    return [path.parent / line.strip() for line in lines if line.strip()]
