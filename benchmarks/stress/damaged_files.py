"""Read weight files that are damaged at random: each must be one line, or harmless.

    python -m benchmarks.stress.damaged_files --files 20000

Small files of every container, with flipped bits, changed numbers, parts cut off, moved, taken out
or put in, and other formats' beginnings. Each is described and read as a whole within 5 seconds and
64 MB (tests/convert/damage.py). Prints a JSON line for every container, and one for each file that
was something else than read or refused in one line; their bytes are kept in --dir. Exit code 1 if
there are any. Takes about a minute.
"""

import collections
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.output import print_json
from shotstream_jax import cli
from tests.convert.damage import damaged_copies, read_everything, sound_files


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.damaged_files", __doc__)
    p.add_argument("--files", type=int, default=20000, metavar="N", help="(default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the damage (default: %(default)s)")
    p.add_argument(
        "--dir",
        type=pathlib.Path,
        default=pathlib.Path("out/damaged_files"),
        metavar="DIR",
        help="where the files go that failed (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        files = sound_files(pathlib.Path(folder))
        share = -(-args.files // len(files))
        for number, (kind, path) in enumerate(files.items()):
            # Undamaged it must be read, which also imports all that the bounds should not count.
            assert read_everything(path) == "read", kind
            rng = np.random.default_rng((args.seed, number))
            failed += try_damage(kind, path, share, rng, args.dir)
    sys.exit(1 if failed else 0)


def try_damage(
    kind: str, path: pathlib.Path, count: int, rng: np.random.Generator, kept: pathlib.Path
) -> int:
    """Reads so many damaged copies of a file; returns how many of them failed."""
    copies = damaged_copies(path.read_bytes(), rng)
    outcomes: collections.Counter[str] = collections.Counter()
    start = time.perf_counter()
    slowest = 0.0
    for number in range(count):
        damage, data = next(copies)
        path.write_bytes(data)
        began = time.perf_counter()
        try:
            outcomes[read_everything(path)] += 1
        except Exception as error:
            outcomes["failed"] += 1
            kept.mkdir(parents=True, exist_ok=True)
            place = kept / f"{number}_{path.name}"
            place.write_bytes(data)
            print_json(failed=str(place), damage=damage, error=f"{type(error).__name__}: {error}")
        slowest = max(slowest, time.perf_counter() - began)
    print_json(
        kind=kind,
        files=count,
        **{name.replace(" ", "_"): outcomes[name] for name in ("read", "one line", "failed")},
        seconds=round(time.perf_counter() - start, 1),
        slowest_s=round(slowest, 2),
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )
    return outcomes["failed"]


if __name__ == "__main__":
    cli.run(main)
