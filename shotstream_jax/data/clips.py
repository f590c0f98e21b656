"""The table of clips: which frames of which video are which shot, and what is said about them.

No video is opened.

A CSV with the columns shot_num_from_caption, json_path, video_path, frame_number. Paths are
relative to the CSV's folder. frame_number is a list of [first, stop) frames of the video, one pair
a shot: [[0, 56], [56, 114]]. The JSON is a story script (text/prompts); what else stands in it is
ignored, and so are other columns. A further column, mask_path, may name a video of as many frames
that is white where something matters more (a character, a face). Rows count from 1, the header not
counted. A column labels_path may name another such video, lossless, whose red, green and blue are
classes of what each pixel shows, 0: nothing.
"""

import ast
import csv
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.text.prompts import Script, read_script

COLUMNS = ("shot_num_from_caption", "json_path", "video_path", "frame_number")
MASK = "mask_path"
LABELS = "labels_path"

# How often a shot's last frame is repeated to make its target a whole one.
MOST_REPEATED = 2

Shots = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Clip:
    """A row of the table.

    name: the CSV's stem and the row's number.
    shots: [first, stop) frames of the video.

    mask: a video that is white where something matters more, or None.
    labels: a video whose colours are classes, or None.
    """

    name: str
    video: pathlib.Path
    global_caption: str
    captions: tuple[str, ...]
    shots: Shots
    mask: pathlib.Path | None = None
    labels: pathlib.Path | None = None


def read_clips(path: str | pathlib.Path, allow_gaps: bool = False) -> list[Clip]:
    """All rows of a CSV with their captions.

    allow_gaps: frames between two shots may belong to none.
    Raises InputError naming the file, the row and the remedy.
    """
    path = pathlib.Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or ())
            rows = list(reader)
    except OSError as error:
        raise InputError(f"cannot read clips {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable CSV in UTF-8: {error}") from None
    if not rows:
        raise InputError(f"{path} has no rows: add one for each clip")
    return [_clip(path, number, row, allow_gaps) for number, row in enumerate(rows, 1)]


def _check_columns(path: pathlib.Path, found: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}: its columns must be {', '.join(COLUMNS)}"
        )


def _clip(path: pathlib.Path, number: int, row: dict[str, str | None], allow_gaps: bool) -> Clip:
    """One row of the table, checked."""
    where = f"{path} row {number}"
    # Each cell by itself, then all of them together.
    cells = _cells(where, row)
    count = cells["shot_num_from_caption"]
    if not count.isdecimal():
        raise InputError(
            f"{where}: shot_num_from_caption {count!r} must be a whole number of shots"
        )
    shots = _intervals(where, cells["frame_number"])
    _check_order(where, shots, allow_gaps)
    script = _script(where, path.parent / cells["json_path"])
    if not int(count) == len(shots) == len(script.shots):
        raise InputError(
            f"{where}: shot_num_from_caption is {count}, frame_number has {len(shots)} intervals, "
            f"{cells['json_path']} has {len(script.shots)} captions: make the three equal"
        )
    mask = path.parent / cells[MASK] if MASK in cells else None
    labels = path.parent / cells[LABELS] if LABELS in cells else None
    return Clip(
        name=f"{path.stem}-{number:05d}",
        video=path.parent / cells["video_path"],
        global_caption=script.global_caption,
        captions=script.shots,
        shots=shots,
        mask=mask,
        labels=labels,
    )


def _cells(where: str, row: dict[str, str | None]) -> dict[str, str]:
    """The cells of our columns without surrounding blanks; none may be empty."""
    if None in row:
        raise InputError(
            f"{where} has more cells than the header: put cells with commas in double quotes"
        )
    names = list(COLUMNS)
    for further in (MASK, LABELS):
        if further in row:
            names.append(further)
    cells = {}
    for name in names:
        cells[name] = (row[name] or "").strip()
        if not cells[name]:
            raise InputError(f"{where}: {name} is empty: fill it in, or remove the row")
    return cells


def _script(where: str, path: pathlib.Path) -> Script:
    """The row's story script; a mistake in it is a mistake of the row."""
    try:
        return read_script(path, ignore_others=True)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _intervals(where: str, text: str) -> Shots:
    """The cell as pairs of whole numbers."""
    # A literal only: nothing in the cell is executed.
    try:
        pairs = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InputError(
            f"{where}: frame_number {text!r:.60} is not a list; write it as [[0, 56], [56, 114]]"
        ) from None
    if not isinstance(pairs, list | tuple) or not pairs:
        raise InputError(
            f"{where}: frame_number {text!r:.60} must be a list of intervals "
            "like [[0, 56], [56, 114]]"
        )
    # bool is a kind of int in Python, so types are compared exactly.
    intervals = []
    for k, pair in enumerate(pairs, 1):
        is_pair = isinstance(pair, list | tuple) and len(pair) == 2
        if not is_pair or any(type(number) is not int for number in pair):
            raise InputError(
                f"{where}: shot {k} is {pair!r:.40}: write two whole numbers, [first, stop]"
            )
        intervals.append((pair[0], pair[1]))
    return tuple(intervals)


def _check_order(where: str, shots: Shots, allow_gaps: bool) -> None:
    """Every shot has frames, and comes after the one before it."""
    # Where the shot before ends.
    end_before = None
    for k, (first, stop) in enumerate(shots, 1):
        shot = f"{where}: shot {k}, [{first}, {stop}],"
        if first < 0 or stop < 0:
            raise InputError(f"{shot} has a negative frame: the first frame is 0")
        if stop <= first:
            what = "empty" if stop == first else "reversed"
            raise InputError(f"{shot} is {what}: the stop must be after the first frame")
        if end_before is not None and first < end_before:
            raise InputError(
                f"{shot} starts before shot {k - 1} ends, at {end_before}: "
                "shots must be in order and must not overlap"
            )
        if end_before is not None and first > end_before and not allow_gaps:
            raise InputError(
                f"{where}: frames {end_before}-{first} lie between shots {k - 1} and {k} and "
                "belong to none; --allow-gaps leaves them out"
            )
        end_before = stop


def cut_clip(shots: Sequence[tuple[int, int]], frames: int, time: int = 4) -> tuple[int, Shots]:
    """Cuts a clip to its video, to the end of its last shot, and to time·n + 1 frames.

    Worked example: shots [0, 20], [20, 33], [33, 60] of 60 frames → 57 frames, and the last shot is
    [33, 57].

    Args:
      shots: the [first, stop) frames of each shot.
      frames: how many the video has.
      time: pixel frames of a latent frame.

    Returns:
      (the number of frames that are left, the shots).

    Raises:
      InputError: if nothing is left of a shot.
    """
    # The first frame makes a latent frame of its own, each `time` more make another.
    count = _whole_latents(min(frames, shots[-1][1]), time)
    cut = []
    for k, (first, stop) in enumerate(shots, 1):
        if first >= count:
            raise InputError(
                f"nothing is left of shot {k}, [{first}, {stop}]: the video has {frames} frames, "
                f"cut to {time}n + 1 they are {count}"
            )
        cut.append((first, min(stop, count)))
    return count, tuple(cut)


def target_frames(first: int, length: int, most: int | None, time: int = 4) -> np.ndarray:
    """The frames of a shot as a training target: strided and cut to `most`, then to time·n + 1.

    Worked example: 197 frames from 12 on, at most 81: every second one, 12, 14, …, 172.

    Args:
      first: the shot's first frame.
      length: how many frames it has.
      most: how many a target has at most; None for no limit.
      time: pixel frames of a latent frame.
    """
    # Long shots are taken with gaps, so that a target spans them.
    stride = 1
    if most is not None and length > most:
        stride = length // most
    frames = np.arange(first, first + length, stride)[:most]
    return frames[: _whole_latents(len(frames), time)]


def shot_target(
    first: int, stop: int, cut_stop: int, most: int | None, time: int = 4
) -> np.ndarray:
    """The frames of a shot as a training target; a whole one if at most two frames are missing.

    The reference cuts the clip before its shots (`cut_clip`), and that rule holds wherever it
    gives a whole target. Where it does not, the shot's own frames up to `stop` are taken, and its
    last frame is repeated up to MOST_REPEATED times.

    Worked example: the last 11 of 22 frames, two to a latent frame: the clip is cut to 21 frames,
    the shot to 10, its target to 9; its own 11 frames are a whole target, 11, 12, …, 21.

    Args:
      first: the shot's first frame.
      stop: the frame behind its last one.
      cut_stop: the same after `cut_clip`.
      most: how many a target has at most, time·n + 1; None for no limit.
      time: pixel frames of a latent frame.
    """
    target = target_frames(first, cut_stop - first, most, time)
    if most is None or len(target) == most or stop - first < most - MOST_REPEATED:
        return target
    return np.minimum(np.arange(first, first + most), stop - 1)


def _whole_latents(frames: int, time: int) -> int:
    """The largest time·n + 1 that is not above `frames`; 0 for none."""
    if frames <= 0:
        return 0
    return (frames - 1) // time * time + 1
