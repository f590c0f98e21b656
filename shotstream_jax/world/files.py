"""Drawn stories as the files that precompute reads, with the truth beside them.

settings.json              what the folder is made with; written first
stories/00000.json         the captions of a story (text/prompts)
stories/00000.truth.json   what there is to see in it (`story_truth`)
stories/00000.mask.mp4     which pixels matter more than others (`weight_mask`)
stories/00000.labels.mp4   what each pixel shows, three classes as its colour (world/class_maps)
stories/00000.mp4          its film, lossless; written last, so that it marks a complete story
clips.csv                  the table (data/clips); written when all stories are complete
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
from shotstream_jax.core.typing import Bool, UInt8
from shotstream_jax.data.clips import COLUMNS, LABELS, MASK
from shotstream_jax.world.plot import PlotShot, Role
from shotstream_jax.world.render import Film
from shotstream_jax.world.source import WorldSource

BOX_WEIGHT = np.uint8(64)  # a quarter
CLOTHING_WEIGHT = np.uint8(255)


def claim_world_folder(folder: pathlib.Path, source: WorldSource) -> None:
    """Makes a folder for a source's stories, or accepts one that was made with the same settings.

    Raises InputError if the folder holds something else, or cannot be written.
    """
    path = folder / "settings.json"
    # Through JSON, so that tuples are lists, as in the file.
    settings = json.loads(json.dumps(dataclasses.asdict(source)))
    try:
        if not path.exists():
            _start_folder(folder, path, settings)
        # Read back in any case: another process may have been faster.
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another place") from None
    try:
        found = json.loads(data)
    except ValueError:
        raise InputError(f"{path} is damaged: choose another folder, or remove this one") from None
    if found != settings:
        raise InputError(
            f"{folder} was made with other settings ({path} has them): choose another folder"
        )


def _start_folder(folder: pathlib.Path, path: pathlib.Path, settings: dict[str, Any]) -> None:
    """Makes the folder, or takes an empty one, and writes its settings."""
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: choose another folder")
    (folder / "stories").mkdir(parents=True, exist_ok=True)
    write_whole(path, _to_json(settings))


def film_path(folder: pathlib.Path, index: int) -> pathlib.Path:
    """The film of a story, in the folder of all."""
    return folder / "stories" / f"{index:05d}.mp4"


def mask_path(folder: pathlib.Path, index: int) -> pathlib.Path:
    """The mask of a story's film."""
    return film_path(folder, index).with_suffix(".mask.mp4")


def labels_path(folder: pathlib.Path, index: int) -> pathlib.Path:
    """What the pixels of a story's film show."""
    return film_path(folder, index).with_suffix(".labels.mp4")


def script_path(folder: pathlib.Path, index: int) -> pathlib.Path:
    """The captions of a story."""
    return film_path(folder, index).with_suffix(".json")


def weight_mask(film: Film, clothing: Bool[np.ndarray, "p y x"]) -> UInt8[np.ndarray, "p y x 3"]:
    """How much each pixel matters.

    White on hats and scarves, a quarter white in the rest of the characters' boxes, else black.
    clothing: where hats and scarves are visible (world/clothing_mask).
    """
    # The boxes.
    frames = np.zeros_like(film.frames)
    for frame, boxes in zip(frames, film.boxes, strict=True):
        for left, top, right, bottom in boxes:
            frame[top:bottom, left:right] = BOX_WEIGHT

    # The clothing inside of them.
    in_boxes = frames > 0
    return np.where(clothing[..., None] & in_boxes, CLOTHING_WEIGHT, frames)


def write_texts(folder: pathlib.Path, index: int, film: Film) -> None:
    """Writes a story's captions and truth. Raises OSError."""
    script = film.story.script
    captions = {"global_caption": script.global_caption}
    for number, caption in enumerate(script.shots, 1):
        captions[f"shot{number}"] = caption

    # Both files have the film's name.
    path = script_path(folder, index)
    write_whole(path, _to_json(captions))
    truth = _to_json(story_truth(film), indent=None)
    write_whole(path.with_suffix(".truth.json"), truth)


def write_table(folder: pathlib.Path, source: WorldSource) -> None:
    """Writes clips.csv, a row for each story. Raises OSError."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow((*COLUMNS, MASK, LABELS))
    for index in range(len(source)):
        story = source.story(index)
        intervals = [list(interval) for interval in story.intervals]
        # In the order of the columns; paths are relative to the table.
        script = script_path(folder, index).relative_to(folder)
        film = film_path(folder, index).relative_to(folder)
        mask = mask_path(folder, index).relative_to(folder)
        labels = labels_path(folder, index).relative_to(folder)
        row = [
            len(intervals),
            script.as_posix(),
            film.as_posix(),
            json.dumps(intervals),
            mask.as_posix(),
            labels.as_posix(),
        ]
        writer.writerow(row)
    write_whole(folder / "clips.csv", table.getvalue().encode())


def story_truth(film: Film) -> dict[str, Any]:
    """What there is to see in a story, as it is written to its .truth.json.

    Its looks and layouts, and for each shot its frames, place, camera and parts. A part is a role
    with its box in each frame, [left, top, right, bottom] in pixels (zeros: not visible).
    """
    story = film.story
    looks = {name: dataclasses.asdict(look) for name, look in story.looks.items()}
    layouts = {place: dataclasses.asdict(layout) for place, layout in story.layouts.items()}
    # The boxes of all shots follow each other, as their frames do.
    shots = []
    for shot, (first, stop) in zip(story.shots, story.intervals, strict=True):
        shots.append(_shot_truth(shot, first, stop, film.boxes))
    return {"looks": looks, "layouts": layouts, "shots": shots}


def _shot_truth(shot: PlotShot, first: int, stop: int, boxes: np.ndarray) -> dict[str, Any]:
    """A shot of `story_truth`: frames first … stop − 1 of the film."""
    parts = []
    for slot, role in enumerate(shot.roles):
        role_boxes = boxes[first:stop, slot]  # [p, 4]
        parts.append(_role_truth(role) | {"boxes": role_boxes.tolist()})
    return {
        "frames": [first, stop],
        "place": shot.place,
        "camera": dataclasses.asdict(shot.camera),
        "parts": parts,
    }


def _role_truth(role: Role) -> dict[str, Any]:
    """A role under the keys of the file format."""
    return {
        "name": role.name,
        "action": role.action,
        "at": role.position,
        "direction": role.direction,
        "way": role.walk_length,
        "phase": role.phase,
    }


def _to_json(value: Any, indent: int | None = 1) -> bytes:
    text = json.dumps(value, indent=indent)
    return f"{text}\n".encode()
