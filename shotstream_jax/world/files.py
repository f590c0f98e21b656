"""Drawn stories as the files that precompute reads, and the truth beside them.

settings.json              what the folder is made with; written first
stories/00000.json         the script of a story (text/prompts)
stories/00000.truth.json   what is to be seen in it (`truth`)
stories/00000.mask.mp4     what matters more than its share of the picture (`mask`)
stories/00000.mp4          its film, lossless; written last, so the story is done when this exists
clips.csv                  the table (data/clips); written when all stories are there, so the folder is complete
"""

import csv
import dataclasses
import io
import json
import pathlib
from typing import Any

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.typing import UInt8
from shotstream_jax.data.clips import COLUMNS, MASK
from shotstream_jax.world.render import Film
from shotstream_jax.world.source import WorldSource
from shotstream_jax.world.worn import recoloured, worn

BOX = 64  # of 255


def claim_folder(folder: pathlib.Path, source: WorldSource) -> None:
    """Writes settings.json, or refuses a folder that holds something else."""
    path, settings = folder / "settings.json", json.loads(json.dumps(dataclasses.asdict(source)))
    try:
        new = not path.exists()
        foreign = new and folder.exists() and any(folder.iterdir())
        if new and not foreign:
            (folder / "stories").mkdir(parents=True, exist_ok=True)
            write_whole(path, _json(settings))
        there = None if foreign else json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another place") from None
    except ValueError:
        raise InputError(f"{path} is damaged: choose another folder, or remove this one") from None
    if there != settings:
        made = "is not empty" if foreign else f"was made with other settings ({path} has them)"
        raise InputError(f"{folder} {made}: choose another folder")


def film_path(folder: pathlib.Path, index: int) -> pathlib.Path:
    return folder / "stories" / f"{index:05d}.mp4"


def mask_path(folder: pathlib.Path, index: int) -> pathlib.Path:
    return film_path(folder, index).with_suffix(".mask.mp4")


def mask(film: Film) -> UInt8[np.ndarray, "p y x 3"]:
    """A quarter white in the characters' boxes, white where their hats and scarves are to be seen, black elsewhere."""
    frames = np.zeros_like(film.frames)
    for frame, boxes in zip(frames, film.boxes, strict=True):
        for left, top, right, bottom in boxes:
            frame[top:bottom, left:right] = BOX
    hats = worn(film, recoloured(film))[..., None]
    return np.where(hats & (frames > 0), np.uint8(255), frames)


def write_texts(folder: pathlib.Path, index: int, film: Film) -> None:
    """A story's script and truth."""
    path, script = film_path(folder, index), film.story.script
    shots = {f"shot{k}": caption for k, caption in enumerate(script.shots, 1)}
    write_whole(path.with_suffix(".json"), _json({"global_caption": script.global_caption} | shots))
    write_whole(path.with_suffix(".truth.json"), _json(truth(film), indent=None))


def write_table(folder: pathlib.Path, source: WorldSource) -> None:
    """clips.csv, a row a story."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow((*COLUMNS, MASK))
    for index in range(len(source)):
        intervals = [list(interval) for interval in source.story(index).intervals]
        film = film_path(folder, index)
        paths = (film.with_suffix(".json"), film, mask_path(folder, index))
        *before, masks = (path.relative_to(folder).as_posix() for path in paths)
        rows.writerow([len(intervals), *before, json.dumps(intervals), masks])
    write_whole(folder / "clips.csv", table.getvalue().encode())


def truth(film: Film) -> dict[str, Any]:
    """What is to be seen: looks and layouts of the story; a shot's place, camera, parts, and of each its boxes a frame,
    [left, top, right, bottom] in pixels (zeros: not to be seen)."""
    story = film.story
    shots = []
    for shot, (first, stop) in zip(story.shots, story.intervals, strict=True):
        parts = [
            dataclasses.asdict(part) | {"boxes": film.boxes[first:stop, slot].tolist()}
            for slot, part in enumerate(shot.parts)
        ]
        camera = dataclasses.asdict(shot.camera)
        shots.append(
            {"frames": [first, stop], "place": shot.place, "camera": camera, "parts": parts}
        )
    looks = {name: dataclasses.asdict(look) for name, look in story.looks.items()}
    layouts = {place: dataclasses.asdict(layout) for place, layout in story.layouts.items()}
    return {"looks": looks, "layouts": layouts, "shots": shots}


def _json(value: Any, indent: int | None = 1) -> bytes:
    return (json.dumps(value, indent=indent) + "\n").encode()
