"""A survey's lines for people."""

import pathlib
import sys

from shotstream_jax import cli
from shotstream_jax.bench.survey.record import Line, read_results

# Numbers of a finding that are printed, with their units, in this order.
_SHOWN = {
    "ms": "ms",
    "frames_per_s": "frames/s",
    "tflops": "TFLOP/s",
    "gb_s": "GB/s",
    "error": "relative error",
    "snr_db": "dB",
    "first_frames_cold_s": "s cold",
    "first_frames_warm_s": "s warm",
}


def print_section(folder: pathlib.Path, name: str) -> None:
    """Prints what the latest run of a section has found."""
    lines: list[Line] = []
    for line in read_results(folder):
        if line.get("section") != name:
            continue
        if line["line"] == "start":
            lines = []
        lines.append(line)
    for line in lines:
        cli.print_line(describe_line(line))
    sys.stdout.flush()


def describe_line(line: Line) -> str:
    """A line of the results in words."""
    if line["line"] == "start":
        size = f"{line['height']}×{line['width']}"
        return f"{line['section']}: {line['device']}, {line['preset']} {line['dtype']}, {size}"
    if line["line"] == "end":
        why = line.get("reason") or line.get("output", "").strip().rpartition("\n")[2]
        spent = f" in {line['seconds']:.0f} s" if "seconds" in line else ""
        return f"{line['section']}: {line['status']}{spent}{f': {why}' if why else ''}\n"
    words = [f"  {line['part']:16}{line['variant']:40}"]
    for field in ("failed", "skipped"):
        if field in line:
            words.append(f"{field}: {line[field]}")
    for field, unit in _SHOWN.items():
        if line.get(field) is not None:
            words.append(f"{line[field]:>10.4g} {unit}")
    # Sizes, where they are what the line is about.
    if line["part"] in ("memory", "program"):
        for field in ("peak_device_bytes", "temp_bytes", "peak_host_mb"):
            if line.get(field) is not None:
                gib = line[field] / (2**10 if field == "peak_host_mb" else 2**30)
                words.append(f"{gib:.2f} GiB {field.rpartition('_')[0]}")
    # MFU as people say it.
    if line.get("mfu"):
        words.append(f"{100 * line['mfu']:>6.1f} % of peak")
    return " ".join(words)
