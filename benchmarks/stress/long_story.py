"""Do memory and the time of a shot stay flat over a long story?

    python -m benchmarks.stress.long_story --shots 40

Measured from outside: the program is started as a user would start it, and prompts are typed into
it one at a time. After every shot its resident memory is read from the operating system (Linux);
the time of a shot is the time until its record appears in the story's folder. 40 shots take some
ten seconds on a laptop. Prints a line for every tenth of the story, and the last quarter against
the second one.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from shotstream_jax import cli


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.long_story", __doc__)
    p.add_argument(
        "--shots",
        type=int,
        default=40,
        metavar="N",
        help="of the story (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        seconds, memory = tell_story(pathlib.Path(folder), args.shots)
    report(seconds, memory)


def tell_story(folder: pathlib.Path, shots: int) -> tuple[list[float], list[float]]:
    """Seconds of each shot, and the program's resident MB after it."""
    story = folder / "story"
    command = [
        sys.executable,
        "-m",
        "shotstream_jax.generate",
        "--prompts=-",
        f"--save-story={story}",
        "--global-caption=A red fox by the sea. ",
        f"--out={folder / 'x.mp4'}",
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    seconds = []
    memory = []
    for shot in range(shots):
        start = time.perf_counter()
        process.stdin.write(f"Shot {shot}: the fox walks on.\n".encode())
        process.stdin.flush()
        while not (story / f"shot_{shot:06d}.npz").exists():
            if process.poll() is not None:
                sys.exit(f"the program ended in shot {shot} with code {process.returncode}")
            time.sleep(0.005)
        seconds.append(time.perf_counter() - start)
        memory.append(resident_mb(process.pid))
    process.stdin.close()
    if process.wait():
        sys.exit(f"the program ended with code {process.returncode}")
    return seconds, memory


def resident_mb(pid: int | str) -> float:
    """Resident memory of a process (Linux), in MB of 2²⁰ bytes."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    for line in status.splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no resident memory: it has ended")


def report(seconds: list[float], memory: list[float]) -> None:
    """Prints a line for every tenth of the story, and the comparison of two quarters."""
    tenth = max(1, len(seconds) // 10)
    cli.print_line("  shots   seconds a shot, median and best   resident MB (largest)")
    for first in range(0, len(seconds), tenth):
        times = seconds[first : first + tenth]
        last = first + len(times) - 1
        largest = max(memory[first : first + tenth])
        cli.print_line(
            f"{first:3d}–{last:3d} {statistics.median(times):12.3f} {min(times):12.3f} "
            f"{largest:24.1f}"
        )
    # Not the first quarter: its shots start the program, compile, and keep more context frames.
    quarter = len(seconds) // 4
    early = slice(quarter, 2 * quarter)
    late = slice(-quarter, None)
    # The best times: on a machine that others use too, the median follows their load.
    time_change = min(seconds[late]) / min(seconds[early]) - 1
    memory_change = statistics.median(memory[late]) / statistics.median(memory[early]) - 1
    cli.print_line(
        f"last quarter against the second: time {time_change:+.1%}, memory {memory_change:+.2%}"
    )


if __name__ == "__main__":
    cli.run(main)
