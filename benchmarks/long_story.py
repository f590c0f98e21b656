"""Is memory flat, and time a shot? Measured from outside: a long story is typed into the program, one prompt at a time.

    python benchmarks/long_story.py --shots 40

The program runs as a user would start it. After every shot its resident memory is read from the operating system, and
the time that the shot took is the time until its record appears in the story's folder.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def resident_mb(pid: int) -> float:
    """Resident memory of a process (Linux), in MB of 2²⁰ bytes."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return (
        int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        / 1024
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shots", type=int, default=40)
    shots = parser.parse_args().shots
    with tempfile.TemporaryDirectory() as folder:
        kept = pathlib.Path(folder) / "story"
        command = [
            sys.executable,
            "-m",
            "shotstream_jax.generate",
            "--prompts",
            "-",
            "--save-story",
            str(kept),
        ]
        command += ["--global-caption", "A red fox by the sea. ", "--out", f"{folder}/x.mp4"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        seconds, memory = [], []
        for shot in range(shots):
            start = time.perf_counter()
            process.stdin.write(f"Shot {shot}: the fox walks on.\n".encode())
            process.stdin.flush()
            while not (kept / f"shot_{shot:06d}.npz").exists():
                if process.poll() is not None:
                    sys.exit(f"the program ended in shot {shot} with code {process.returncode}")
                time.sleep(0.005)
            seconds.append(time.perf_counter() - start)
            memory.append(resident_mb(process.pid))
        process.stdin.close()
        if process.wait():
            sys.exit(f"the program ended with code {process.returncode}")
    report(seconds, memory)


def report(seconds: list[float], memory: list[float]) -> None:
    """A line for every tenth of the story; the first shots start the program, compile, and keep more context frames."""
    step = max(1, len(seconds) // 10)
    sys.stdout.write("  shots   seconds a shot, median and best   resident MB (largest)\n")
    for first in range(0, len(seconds), step):
        part = slice(first, first + step)
        last = min(first + step, len(seconds))
        times = f"{statistics.median(seconds[part]):12.3f} {min(seconds[part]):12.3f}"
        sys.stdout.write(f"{first:3d}–{last - 1:3d} {times} {max(memory[part]):24.1f}\n")
    quarter = len(seconds) // 4
    early, late = slice(quarter, 2 * quarter), slice(-quarter, None)
    # The best times: on a machine that others use too, the median follows their load.
    times = [min(seconds[s]) for s in (early, late)]
    sizes = [statistics.median(memory[s]) for s in (early, late)]
    sys.stdout.write(
        f"last quarter against the second: time {times[1] / times[0] - 1:+.1%}, memory {sizes[1] / sizes[0] - 1:+.2%}\n"
    )


if __name__ == "__main__":
    main()
