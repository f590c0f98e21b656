"""Which films there are: a suite's scripts, and where it wants the films of them.

    story        SCRIPTS/NAME.json: global_caption, shot1, shot2, …       VIDEOS/NAME.mp4
    st-bench     SCRIPTS/NAME.json: story_overview, scenes with           VIDEOS/NAME/SS_KK.mp4
                 video_prompts and cut (StoryMem, arXiv:2512.19539)       (scene, prompt from 01)
    entitybench  SCRIPTS/ID.json: scenes with video_prompts, …            VIDEOS/ID/SSS_KKK.mp4
                 (arXiv:2605.15199)
    memflow      SCRIPTS.jsonl: a line {"prompts": […]} a story           VIDEOS/NNN.mp4
                 (interactive prompts of MemFlow, arXiv:2512.14699)       (its line, from 000)
    vbench       SCRIPTS.txt: a prompt a line; without it any films       VIDEOS/PROMPT-0.mp4
                 are taken (VBench's custom input, arXiv:2311.17982)

A whole film VIDEOS/NAME.mp4 is taken, too, where a suite wants a file for each shot. A film may
have a report of `shotstream generate --report` beside it, NAME.report.json: it tells exactly where
the shots are.
"""

import json
import pathlib
import re
from typing import Any

from shotstream_jax.core.errors import InputError
from shotstream_jax.score.films import SuiteFilm
from shotstream_jax.text.prompts import Script, check_caption, read_script

STORY = "story"
ST_BENCH = "st-bench"
ENTITY_BENCH = "entitybench"
MEMFLOW = "memflow"
VBENCH = "vbench"
SUITES = (STORY, ST_BENCH, ENTITY_BENCH, MEMFLOW, VBENCH)

_DIGITS = {ST_BENCH: 2, ENTITY_BENCH: 3}  # of the numbers in a shot's file
_TAKE = re.compile(r"-\d+$")  # what follows the prompt in VBench's names
_LONGEST_NAME = 180  # characters, as in VBench's own names
_REPORT = ".report.json"


def read_films(suite: str, videos: pathlib.Path, scripts: pathlib.Path | None) -> list[SuiteFilm]:
    """The suite's films, whether their files are there yet or not.

    scripts: None for scripts that lie beside the films. Raises InputError if there are none, or if
    one is none of the suite's.
    """
    if suite == VBENCH:
        return _vbench_films(videos, scripts)
    if suite == MEMFLOW:
        return _memflow_films(videos, scripts)
    folder = scripts or videos
    films = []
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(_REPORT):
            continue
        films.append(_story_film(path, videos) if suite == STORY else _scenes(suite, path, videos))
    if not films:
        raise InputError(f"{folder} has no scripts NAME.json of the suite {suite}")
    return films


def report_path(film: pathlib.Path) -> pathlib.Path:
    """Where the report of a film's maker lies."""
    return film.with_name(film.stem + _REPORT)


def _story_film(path: pathlib.Path, videos: pathlib.Path) -> SuiteFilm:
    film = videos / f"{path.stem}.mp4"
    script = read_script(path)
    return SuiteFilm(path.stem, (film,), script, lengths=_noted_lengths(film))


def _noted_lengths(film: pathlib.Path) -> tuple[int, ...]:
    """The frames of each shot by the report beside a film; empty if there is none."""
    path = report_path(film)
    if not path.exists():
        return ()
    lengths: dict[int, int] = {}
    try:
        for chunk in json.loads(path.read_text("utf-8"))["chunks"]:
            lengths[chunk["shot"]] = lengths.get(chunk["shot"], 0) + chunk["frames"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no report of shotstream generate: remove it") from None
    return tuple(lengths[shot] for shot in sorted(lengths))


def _scenes(suite: str, path: pathlib.Path, videos: pathlib.Path) -> SuiteFilm:
    """A film of ST-Bench or EntityBench: a file for each prompt of each scene."""
    content = _read_json(path)
    captions = []
    begins = []
    names = []
    digits = _DIGITS[suite]
    try:
        for number, scene in enumerate(content["scenes"], 1):
            prompts = scene["video_prompts"]
            cuts = scene.get("cut", True)
            for place, prompt in enumerate(prompts):
                where = f"{path}: prompt {place + 1} of scene {number}"
                captions.append(check_caption(prompt, where))
                # One word for the scene, or one for each of its prompts.
                cut = cuts[place] if isinstance(cuts, list) else cuts
                begins.append(str(cut).lower() != "false")
                names.append(f"{number:0{digits}d}_{place + 1:0{digits}d}.mp4")
        overview = str(content.get("story_overview") or "")
    except (KeyError, TypeError, IndexError, AttributeError):
        raise InputError(
            f"{path} is no script of {suite}: it must have scenes, each with video_prompts and cut"
        ) from None
    if not captions:
        raise InputError(f"{path} has no prompts")
    script = Script(overview, tuple(captions))
    whole = videos / f"{path.stem}.mp4"
    parts = (whole,) if whole.exists() else tuple(videos / path.stem / name for name in names)
    return SuiteFilm(path.stem, parts, script, tuple(begins), _noted_lengths(whole))


def _memflow_films(videos: pathlib.Path, scripts: pathlib.Path | None) -> list[SuiteFilm]:
    """A film for each line of prompts."""
    if scripts is None or not scripts.is_file():
        raise InputError("the suite memflow needs --scripts FILE.jsonl, a line of prompts a story")
    films = []
    for number, line in enumerate(_read_text(scripts).splitlines()):
        if not line.strip():
            continue
        where = f"{scripts} line {number + 1}"
        try:
            prompts = json.loads(line)["prompts"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f'{where} must be {{"prompts": ["…", "…"]}}') from None
        captions = tuple(check_caption(prompt, where) for prompt in prompts)
        film = videos / f"{number:03d}.mp4"
        films.append(
            SuiteFilm(film.stem, (film,), Script("", captions), lengths=_noted_lengths(film))
        )
    if not films:
        raise InputError(f"{scripts} has no prompts")
    return films


def _vbench_films(videos: pathlib.Path, scripts: pathlib.Path | None) -> list[SuiteFilm]:
    """Films of a shot each: those of a file's prompts, or all that are there."""
    if scripts is not None:
        films = []
        for line in _read_text(scripts).splitlines():
            if line.strip():
                prompt = check_caption(line.strip(), str(scripts))
                # No file's name has a slash.
                name = prompt.replace("/", "_")[:_LONGEST_NAME]
                films.append(_prompt_film(videos / f"{name}-0.mp4", prompt))
        return films
    films = []
    for path in sorted(videos.glob("*.mp4")):
        films.append(_prompt_film(path, _TAKE.sub("", path.stem)))
    if not films:
        raise InputError(f"{videos} has no films PROMPT-0.mp4")
    return films


def _prompt_film(path: pathlib.Path, prompt: str) -> SuiteFilm:
    return SuiteFilm(path.stem, (path,), Script("", (prompt,)))


def _read_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(_read_text(path))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def _read_text(path: pathlib.Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
