"""The rows of a measurement as the lines of a table, and the lines above it."""

import sys
from typing import Any

from shotstream_jax import cli

Row = dict[str, Any]


def print_head(about: Row) -> None:
    """What is measured, on which device, what that device reaches, and the names of the columns."""
    versions = about["versions"]
    cli.print_line(
        f"{about['device']}, {about['devices']} device(s), {about['cores']} cores; "
        f"jax {versions['jax']}"
    )
    # What is measured.
    size = f"{about['height']}×{about['width']}, {about['shot_frames']} latent frames a shot"
    kind = about["dtype"]
    if about["quantize"] != "none":
        kind = f"{kind} and {about['quantize']}"
    cli.print_line(
        f"{about['preset']}, {size}, {about['batch']} stories, {kind}; "
        f"attention: {about['attention']}"
    )
    # What the device reaches at best.
    matmul = f"a large matmul: {about['matmul_tflops']:.3g} TFLOP/s"
    copy = f"a large copy: {about['copy_gb_s']:.3g} GB/s"
    cli.print_line(f"{matmul}; {copy}\n")
    # The columns, as wide as those of print_row.
    cli.print_line(
        f"{'part':16}"
        f"{'':28}"
        f"{'ms':>10}"
        f"{'first s':>9}"
        f"{'GFLOP':>10}"
        f"{'TFLOP/s':>9}"
        f"{'of matmul':>11}"
        f"{'frames/s':>10}"
    )


def print_row(row: Row) -> None:
    """One line of the table, of a program or of the whole stream."""
    name = f"{row['part']:16}{row['variant']:28}"
    rate = row["frames_per_s"]
    if row["part"] == "stream":
        cold = f"{row['first_frames_cold_s']:.2f} s cold"
        warm = f"{row['first_frames_warm_s']:.3f} s warm"
        cli.print_line(f"{name}{f'first frames after {cold}, {warm}':>49}{rate:>10.1f}")
    else:
        share = f"{100 * row['of_matmul']:.0f} %"
        frames = f"{rate:.1f}" if rate else ""
        cli.print_line(
            f"{name}"
            f"{row['ms']:>10.4g}"
            f"{row['first_s']:>9.2f}"
            f"{row['gflop']:>10.4g}"
            f"{row['tflops']:>9.3g}"
            f"{share:>11}"
            f"{frames:>10}"
        )
    # A line comes as soon as it is measured, also through a pipe.
    sys.stdout.flush()
