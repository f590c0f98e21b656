"""results.jsonl: a JSON line for everything that is found, on disk as soon as it is known.

The field `line` says what a line is:

    run      a command began: its options, versions, budget
    start    a section began: the device, and what is measured on it
    result   one finding; `part` and `variant` name it. It has `ms` or other numbers, or says why
             there is none: `failed` (the error) or `skipped` (the reason)
    end      a section ended; `status` is done, failed, timeout or skipped

`at` is the time in seconds since the command began, `section` the section; FIELDS explains the
others, and stands in the `run` line.
"""

import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

NAME = "results.jsonl"
DIGITS = 5  # that a number is written with

Line = dict[str, Any]

# What the fields of a result mean.
FIELDS = {
    "ms": "median time of a call, until its result is there",
    "calls": "that the median is of",
    "first_s": "the first call: it compiles, or takes the program from the cache of earlier ones",
    "gflop": "a call's matmuls and convolutions, by formula; nothing computed again counts",
    "tflops": "10^12 of them a second",
    "mfu": "tflops over peak_tflops, the data sheet's dense bfloat16 (start line); null: no sheet",
    "gb_s": "10^9 bytes a second, read and written",
    "frames_per_s": "pixel frames; of the stream: text, memory, denoising, decoding and the bytes'"
    " way to the host included, from the second shot on",
    "first_frames_cold_s": "first prompt of a new process to its first frames on the host",
    "first_frames_warm_s": "the same for later shots, median",
    "programs_compiled": "that were not in the cache of compiled programs",
    "programs_from_cache": "that were",
    "error": "|result - exact| / |exact|, exact in float32 with full precision",
    "snr_db": "signal to noise beside float32",
    "layers": "that have this shape in a chunk's decoding",
    "launches": "kernels of a call",
    "peak_device_bytes": "most memory of the device in use so far in this section",
}


def write_line(folder: pathlib.Path, line: Line) -> None:
    """Appends a line; it is on disk when this returns."""
    text = json.dumps(_short(line), ensure_ascii=False, default=str)
    with (folder / NAME).open("a+b") as file:
        # A process that was killed while it wrote has left half a line.
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                text = f"\n{text}"
        file.write(f"{text}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read_results(folder: pathlib.Path) -> Iterator[Line]:
    """The lines so far; half a line is left out."""
    path = folder / NAME
    if not path.exists():
        return
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            yield line


def finished_sections(folder: pathlib.Path) -> set[str]:
    """The sections that have been done."""
    done = set()
    for line in read_results(folder):
        if line.get("line") == "end" and line.get("status") == "done":
            done.add(line["section"])
    return done


def _short(value: Any) -> Any:
    """The value with floats of a few digits, and null for those that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_short(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
