"""A story as one file: a zip that holds what is done, and is opened again as another story.

    story.json                              what all shots share, and the tree
    shots/<shot>/record.npz, 000.mp4 …      as in the story's folder (store)
    pictures/<picture>.png

Nothing is compressed, so a file unpacks to its own size. Of a stranger's file only these names are
read, into these places, each no longer than the directory says, and all of it is checked before
the story is there.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.choose import PAPER
from shotstream_jax.presets import VideoFormat
from shotstream_jax.serve.board import DONE, Board, BoardShot, apply_event
from shotstream_jax.serve.bodies import CueAnswer, PinBody, Prompt, ShotId, Styles
from shotstream_jax.serve.store import StoryFolder
from shotstream_jax.serve.story_desk import StoryDesk

_VERSION = 1
_TREE = "story.json"
_NAME = re.compile(
    r"shots/[a-z2-7]{26}/(record\.npz|[0-9]{3,4}\.mp4|poster\.webp)|pictures/[a-z2-7]{26}\.png"
)
_TREE_BYTES = 8 * 2**20
_FILE_BYTES = 32 * 2**20
_FILES = 50_000
_DIRECTORY_BYTES = _FILES * 160
# The end of a zip: its disks and counts, how many bytes its directory has, and where; a comment.
_END = struct.Struct("<12sL4s2s")
# What reading a file that is no whole zip can raise.
_DAMAGE = (
    zipfile.BadZipFile,
    OSError,
    KeyError,
    ValueError,
    NotImplementedError,
    EOFError,
    RuntimeError,
    struct.error,
)

_Whole = Annotated[int, Field(ge=0, lt=2**40)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Shot(_Strict):
    """A done shot of the tree."""

    id: ShotId
    parent: ShotId | None
    caption: Prompt
    take: Annotated[int, Field(ge=0, lt=2**31)]
    frames: Annotated[int, Field(ge=1, le=4096)] | None
    pins: Annotated[list[PinBody], Field(max_length=8)]
    cues: Annotated[list[CueAnswer], Field(max_length=1000)]
    cut: Annotated[int, Field(ge=1, le=4096)] | None
    chunks: Annotated[int, Field(ge=1, le=4096)]
    first_frame: _Whole
    length: _Whole
    hidden: bool
    styles: Styles = {}


class _Video(_Strict):
    height: _Whole
    width: _Whole
    shot_frames: _Whole
    fps: _Whole


class _Head(_Strict):
    """generate/story.Story without its shots."""

    global_caption: Annotated[str, Field(max_length=2000)]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    preset: Annotated[str, Field(max_length=100)]
    video: _Video
    context: _Whole
    fingerprint: Annotated[str, Field(max_length=200)]
    memory: Annotated[str, Field(max_length=100)] = PAPER


class _Tree(_Strict):
    version: Annotated[int, Field(ge=_VERSION, le=_VERSION)]
    story: _Head
    title: Annotated[str, Field(max_length=200)]
    head: ShotId | None
    shots: Annotated[list[_Shot], Field(max_length=10_000)]


def write_archive(desk: StoryDesk, path: pathlib.Path) -> None:
    """Writes a story's file. Raises OSError."""
    board = desk.board
    head = dataclasses.asdict(desk.folder.head)
    del head["shots"]
    done = [shot for shot in board.shots.values() if shot.state == DONE]
    # Nothing done follows what is not done, so the nearest done shot is in the head's branch.
    last = None
    for shot in board.branch(board.head):
        if shot.state == DONE:
            last = shot.id
    tree = {
        "version": _VERSION,
        "story": head,
        "title": board.title,
        "head": last,
        "shots": [_as_kept(shot) for shot in done],
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_TREE, json.dumps(tree, ensure_ascii=False))
        for shot in done:
            for file in sorted(desk.folder.shot(shot.id).iterdir()):
                _add(archive, desk.folder, file)
            for pin in shot.pins:
                if "picture" in pin:
                    _add(archive, desk.folder, desk.folder.picture(pin["picture"]))


def _add(archive: zipfile.ZipFile, folder: StoryFolder, file: pathlib.Path) -> None:
    """A file under its name in the folder, once."""
    name = file.relative_to(folder.path).as_posix()
    if _NAME.fullmatch(name) and name not in archive.NameToInfo:
        archive.write(file, name)


def _as_kept(shot: BoardShot) -> dict[str, Any]:
    """A shot as story.json has it."""
    kept: dict[str, Any] = {name: vars(shot)[name] for name in _Shot.model_fields}
    kept["pins"] = [dict(pin) for pin in shot.pins]
    kept["cues"] = [cue._asdict() for cue in shot.cues]
    return kept


def read_archive(path: pathlib.Path, into: pathlib.Path, most: int) -> tuple[Story, list[Any]]:
    """Unpacks a story's file into a folder that is not there yet.

    most: bytes in all. Returns the story without shots, and the lines of its log without numbers.
    Raises InputError for anything else than a whole story, and OSError.
    """
    _check_end(path)
    with _opened(path) as archive:
        _check_directory(archive, most)
        tree = _tree_of(_content(archive, _TREE))
        video = VideoFormat(**tree.story.video.model_dump())
        head = Story(**{**tree.story.model_dump(), "video": video})
        shots = {shot.id for shot in tree.shots}
        for member in archive.infolist():
            kind, _, name = member.filename.partition("/")
            if kind == "shots" and name.partition("/")[0] not in shots:
                raise InputError(f"{member.filename} is of no shot of its tree")
            if member.filename != _TREE:
                target = into / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(_content(archive, member.filename))
    return head, _as_log(tree)


def _check_end(path: pathlib.Path) -> None:
    """Refuses a directory that is too large to be read. Raises InputError, and OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END.size))
        end = file.read()
    is_end = len(end) == _END.size and end.startswith(b"PK\5\6")
    # Files of more than 65,534 names have another directory, which no story's needs.
    if not is_end or _END.unpack(end)[1] > _DIRECTORY_BYTES:
        raise InputError("it is no story file, cut off, or has more files than a story")


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """A zip. Raises InputError if it is none."""
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise InputError(f"it is no story file, or damaged ({error})") from None
    with archive:
        yield archive


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    """One of its files. Raises InputError if it is not there, or damaged."""
    try:
        return archive.read(name)
    except _DAMAGE as error:
        raise InputError(f"it is no story file, or damaged ({error})") from None


def _tree_of(data: bytes) -> _Tree:
    """What story.json says. Raises InputError."""
    try:
        return _Tree.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"its tree is damaged: {place}: {first['msg']}") from None


def _check_directory(archive: zipfile.ZipFile, most: int) -> None:
    """Refuses names, kinds and sizes that no story file has, before anything is read."""
    members = archive.infolist()
    if len(members) > _FILES:
        raise InputError(f"it has {len(members)} files, more than a story")
    names = set()
    total = 0
    for member in members:
        limit = _TREE_BYTES if member.filename == _TREE else _FILE_BYTES
        is_known = member.filename == _TREE or _NAME.fullmatch(member.filename)
        if not is_known or member.filename in names:
            raise InputError(f"it has the file {member.filename!r:.60}, which no story has")
        is_plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        if not is_plain or member.compress_size != member.file_size:
            raise InputError("its files are compressed or locked: a story's are neither")
        names.add(member.filename)
        total += member.file_size
        if member.file_size > limit or total > most:
            raise InputError(f"it unpacks to more than {most} bytes, or {limit} of one file")


def _as_log(tree: _Tree) -> list[dict[str, Any]]:
    """The lines of a log that leads to a tree."""
    lines: list[dict[str, Any]] = []
    if tree.title:
        lines.append({"event": "title", "title": tree.title})
    for shot in tree.shots:
        asked = {"event": "asked", "shot": shot.id}
        for name in ("parent", "caption", "take", "frames", "styles"):
            asked[name] = vars(shot)[name]
        pins = [pin.model_dump(exclude_none=True) for pin in shot.pins]
        lines.append({**asked, "pins": pins})
        for cue in shot.cues[1:]:
            lines.append({"event": "told", "shot": shot.id, **cue.model_dump()})
        if shot.cut is not None:
            lines.append({"event": "cut", "shot": shot.id, "chunks": shot.cut})
        done = {"event": "done", "shot": shot.id}
        for name in ("chunks", "first_frame", "length"):
            done[name] = vars(shot)[name]
        lines.append(done)
        if shot.hidden:
            lines.append({"event": "hidden", "shot": shot.id, "hidden": True})
    lines.append({"event": "head", "shot": tree.head})
    return lines


def check_unpacked(folder: StoryFolder, board: Board, check: Callable[[Story], None]) -> None:
    """Whether an unpacked story's shots have all that they say.

    check: refuses a story that the server's model could not go on with. Raises InputError.
    """
    for shot in board.shots.values():
        record = folder.read_record(shot.id)
        check(dataclasses.replace(folder.head, shots=(record,)))
        parent = board.shots[shot.parent] if shot.parent is not None else None
        first_frame = 0 if parent is None else (parent.first_frame or 0) + (parent.length or 0)
        last = shot.cues[-1].caption if shot.cues else shot.caption
        said = (shot.number, shot.first_frame, shot.length, last)
        kept = (record.number, record.first_frame, record.length, record.caption)
        if said != kept or shot.first_frame != first_frame:
            raise InputError(f"the record of shot {shot.id} is another shot's")
        for number in range(shot.chunks):
            path = folder.chunk(shot.id, number)
            if not path.exists() or path.read_bytes()[4:8] != b"ftyp":
                raise InputError(f"chunk {number} of shot {shot.id} is missing, or no mp4")
        for pin in shot.pins:
            if "picture" in pin and not folder.picture(pin["picture"]).exists():
                raise InputError(f"shot {shot.id} has a picture that is missing")
            if "shot" in pin and pin["shot"] not in board.shots:
                raise InputError(f"shot {shot.id} has a frame of a shot that is missing")


def board_of(lines: list[dict[str, Any]]) -> tuple[Board, list[dict[str, Any]]]:
    """The board that lines lead to, and the lines with their numbers. Raises InputError."""
    board = Board()
    numbered = []
    for line in lines:
        line = {"seq": board.seq + 1, "at": 0.0, **line}
        if line["event"] == "asked" and line["shot"] in board.shots:
            raise InputError(f"shot {line['shot']} is there twice")
        board = apply_event(board, line)
        numbered.append(line)
    if board.head is not None and board.head not in board.shots:
        raise InputError("its head is no shot of it")
    return board, numbered
