"""The steps of one film, each with its result in a file of the film's folder:

    films/NAME/look.npz      what was measured of its frames (look)
    films/NAME/chances.npz   where TransNetV2 sees transitions, if the recipe asks it (transnet)
    films/NAME/shots.json    its shots, and why some are dropped; its groups (cuts, filters, groups)
    films/NAME/clips.json    written when all its clips are (clips)
    films/NAME/broken.json   in place of these: why it cannot be used

A result says what it follows from (`digest`): the film, the step's version, the part of the recipe
that it depends on, the step before. One that follows from anything else is made again. A film's
steps read and write nothing of any other film, so that films can be prepared in any order, by any
number of processes on any machines that see the folder.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_json
from shotstream_jax.prepare.clips import ClipFiles, write_clips
from shotstream_jax.prepare.cuts import find_spans
from shotstream_jax.prepare.films import FilmFile
from shotstream_jax.prepare.filters import FilmShot, judge_shots
from shotstream_jax.prepare.groups import group_shots
from shotstream_jax.prepare.look import (
    FilmLook,
    look_at,
    read_arrays,
    read_look,
    small_frames,
    write_arrays,
    write_look,
)
from shotstream_jax.prepare.recipe import PrepareRecipe
from shotstream_jax.prepare.transnet import (
    NO_NETWORK,
    Chances,
    Params,
    find_chances,
    load_transnet,
)

# Raised when a step gives other results than before.
LOOK_VERSION = 2
CHANCES_VERSION = 1
SHOTS_VERSION = 1
CLIPS_VERSION = 1

Count = Callable[[int], None]


class PreparedClip(NamedTuple):
    """name: of its files in DIR/clips. shots: as they stand in the film."""

    name: str
    shots: list[FilmShot]


@dataclasses.dataclass(frozen=True)
class PreparedFilm:
    """What the steps have made of a film. broken: why it cannot be used; "" if it can."""

    film: FilmFile
    shots: list[FilmShot]
    clips: list[PreparedClip]
    broken: str = ""


def prepare_film(
    film: FilmFile, out: pathlib.Path, recipe: PrepareRecipe, count: Count
) -> PreparedFilm:
    """All steps of a film; those whose results are there are not done again.

    count: is told how many frames have been looked at. A film that cannot be used is named in the
    result, and never an error.
    """
    folder = film_folder(out, film)
    folder.mkdir(parents=True, exist_ok=True)
    first = _digest(film.name, LOOK_VERSION)
    broken = _read(folder / "broken.json", first)
    if broken is not None:
        return PreparedFilm(film, [], [], broken)
    try:
        return _prepare_whole(film, out, recipe, count, first)
    except InputError as error:
        _write(folder / "broken.json", first, str(error))
        return PreparedFilm(film, [], [], str(error))


def look_at_film(film: FilmFile, out: pathlib.Path) -> None:
    """The first step of `prepare_film` alone, which then finds its result."""
    folder = film_folder(out, film)
    folder.mkdir(parents=True, exist_ok=True)
    first = _digest(film.name, LOOK_VERSION)
    if _read(folder / "broken.json", first) is not None:
        return
    try:
        _look(film, folder, first, ignore_count)
    except InputError as error:
        _write(folder / "broken.json", first, str(error))


def find_film_chances(
    film: FilmFile, out: pathlib.Path, recipe: PrepareRecipe, network: Params
) -> None:
    """The second step alone, by a network that is loaded; nothing if no later step needs it."""
    folder = film_folder(out, film)
    first = _digest(film.name, LOOK_VERSION)
    is_broken = _read(folder / "broken.json", first) is not None
    if is_broken or _read(folder / "shots.json", _shots_digest(first, recipe)) is not None:
        return
    try:
        _chances(film, folder, first, recipe.cuts.gradual, ignore_count, network)
    except InputError as error:
        _write(folder / "broken.json", first, str(error))


def ignore_count(_: int) -> None:
    """Counts no frames."""


def _shots_digest(first: str, recipe: PrepareRecipe) -> str:
    """What shots and groups follow from."""
    return _digest(first, SHOTS_VERSION, recipe.cuts, recipe.shots, recipe.groups, recipe.video)


def _prepare_whole(
    film: FilmFile, out: pathlib.Path, recipe: PrepareRecipe, count: Count, first: str
) -> PreparedFilm:
    """The steps of a film, in their order."""
    folder = film_folder(out, film)
    second = _shots_digest(first, recipe)
    found = _read(folder / "shots.json", second)
    look = None
    if found is None:
        look = _look(film, folder, first, count)
        chances = _chances(film, folder, first, recipe.cuts.gradual, count)
        spans = find_spans(look, chances, recipe.cuts)
        grouping = group_shots(look, judge_shots(look, spans, recipe), recipe.groups)
        found = dataclasses.asdict(grouping)
        _write(folder / "shots.json", second, found)
    shots = [FilmShot(**shot) for shot in found["shots"]]
    clips = []
    for number, group in enumerate(found["groups"], 1):
        name = f"{film.name}-{number:03d}"
        clips.append(PreparedClip(name, [shots[k] for k in group]))
    third = _digest(second, CLIPS_VERSION)
    if _read(folder / "clips.json", third) is None or not _are_there(out, clips):
        look = look or _look(film, folder, first, count)
        _write_film_clips(film, out, look, clips, recipe)
        _write(folder / "clips.json", third, [clip.name for clip in clips])
    return PreparedFilm(film, shots, clips)


def film_folder(out: pathlib.Path, film: FilmFile) -> pathlib.Path:
    """Where a film's results are."""
    return out / "films" / film.name


def clip_files(out: pathlib.Path, clip: str) -> ClipFiles:
    """Where a clip's film and sheet are."""
    return ClipFiles(out / "clips" / f"{clip}.mp4", out / "clips" / f"{clip}.png")


def forget_broken(out: pathlib.Path, film: FilmFile) -> None:
    """A film that could not be used is tried again."""
    (film_folder(out, film) / "broken.json").unlink(missing_ok=True)


def look_of(out: pathlib.Path, film: FilmFile) -> FilmLook:
    """What was measured of a film that is prepared. Raises InputError if it is gone."""
    path = film_folder(out, film) / "look.npz"
    look = read_look(path, _digest(film.name, LOOK_VERSION))
    if look is None:
        raise InputError(f"{path} is gone: run the same command again")
    return look


def _look(film: FilmFile, folder: pathlib.Path, digest: str, count: Count) -> FilmLook:
    """What was measured of a film, now or earlier."""
    look = read_look(folder / "look.npz", digest)
    if look is None:
        look = look_at(film.path, count)
        write_look(folder / "look.npz", look, digest)
    return look


def _are_there(out: pathlib.Path, clips: list[PreparedClip]) -> bool:
    """Whether nobody has removed a file of these clips."""
    for clip in clips:
        for path in clip_files(out, clip.name):
            if not path.exists():
                return False
    return True


def _chances(
    film: FilmFile,
    folder: pathlib.Path,
    first: str,
    source: str,
    count: Count,
    network: Params | None = None,
) -> Chances | None:
    """TransNetV2's chances, now or earlier; None where the recipe does without.

    network: by default it is loaded here.
    """
    if source == NO_NETWORK:
        return None
    path = folder / "chances.npz"
    digest = _digest(first, CHANCES_VERSION, source)
    arrays = read_arrays(path, digest)
    if arrays is None:
        params = load_transnet(source) if network is None else network
        chances = find_chances(params, small_frames(film.path, count))
        write_arrays(path, digest, chances._asdict())
        return chances
    return Chances(**arrays)


def _write_film_clips(
    film: FilmFile,
    out: pathlib.Path,
    look: FilmLook,
    clips: list[PreparedClip],
    recipe: PrepareRecipe,
) -> None:
    """The clips of a film; those of an earlier recipe are removed before."""
    (out / "clips").mkdir(exist_ok=True)
    for old in sorted((out / "clips").glob(f"{film.name}-*")):
        old.unlink()
    files = [clip_files(out, clip.name) for clip in clips]
    write_clips(film.path, look, [clip.shots for clip in clips], recipe.video, files)


def _digest(*causes: Any) -> str:
    """A checksum of all that a result follows from."""
    plain = []
    for cause in causes:
        is_section = dataclasses.is_dataclass(cause)
        plain.append(dataclasses.asdict(cause) if is_section else cause)
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def _read(path: pathlib.Path, digest: str) -> Any:
    """A result, or None if it is not there or follows from anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if content["digest"] != digest:
        return None
    return content["result"]


def _write(path: pathlib.Path, digest: str, result: Any) -> None:
    write_json(path, {"digest": digest, "result": result})
