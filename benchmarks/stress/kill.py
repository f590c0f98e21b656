"""Kill a training run again and again, and compare the result with a run that nobody touched.

    python -m benchmarks.stress.kill --kills 20 --dir out/kill -- \\
        --config film:dmd_intra --config.run.steps=60 …

Everything after `--` goes to `shotstream train`. First the undisturbed run (in
DIR/calm); then the same one in DIR/rough, ended with SIGKILL at random moments and started again:
it takes about as long as the run itself and half of --longest for each kill. Prints what it saw as
JSON lines, and at last whether every parameter and every logged loss is equal, bit for bit. Exit
code 1 if not.
"""

import json
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.output import print_json
from shotstream_jax import cli
from shotstream_jax.checkpoint.checkpoint import open_checkpoint


def parser() -> cli.Parser:
    """The options of this command, those before `--`."""
    p = cli.make_parser("benchmarks.stress.kill", __doc__)
    p.add_argument("--kills", type=int, default=20, metavar="N", help="(default: %(default)s)")
    p.add_argument(
        "--dir",
        type=pathlib.Path,
        required=True,
        help="a new folder for both runs",
    )
    p.add_argument(
        "--longest",
        type=float,
        default=30.0,
        metavar="S",
        help="a process lives at most this long, in seconds (default: %(default)s)",
    )
    p.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the random moments (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    ours = list(argv)
    theirs: list[str] = []
    if "--" in ours:
        cut = ours.index("--")
        theirs = ours[cut + 1 :]
        ours = ours[:cut]
    args = parser().parse_args(ours)
    calm = args.dir / "calm"
    rough = args.dir / "rough"
    # The undisturbed run is what the other is compared with.
    start(calm, theirs).wait()
    # Each process goes on from the last snapshot of the one before it.
    draw = random.Random(args.seed)
    for kill in range(args.kills):
        seconds, finished = run_and_kill(rough, theirs, draw.uniform(0.5, args.longest))
        print_json(
            kill=kill,
            after_s=round(seconds, 1),
            steps_logged=steps(rough),
            snapshots=snapshots(rough),
        )
        if finished:
            sys.exit(
                "the run was over before the last kill: give it more steps, or lower --longest"
            )
    if start(rough, theirs).wait():
        sys.exit("the last start failed")
    equal = {
        "parameters": same_model(calm, rough),
        "losses": logged_losses(calm) == logged_losses(rough),
    }
    print_json(kills=args.kills, steps=steps(rough), equal=equal)
    sys.exit(0 if all(equal.values()) else 1)


def start(workdir: pathlib.Path, options: list[str]) -> subprocess.Popen:
    """Starts a training run, or goes on with it; its messages go into WORKDIR.log."""
    log = workdir.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "shotstream_jax.train", *options, f"--workdir={workdir}"]
    return subprocess.Popen(command, stderr=log.open("a"))


def run_and_kill(workdir: pathlib.Path, options: list[str], moment: float) -> tuple[float, bool]:
    """Lets a run live for `moment` seconds. Returns its seconds, and whether it ended before."""
    process = start(workdir, options)
    began = time.time()
    while process.poll() is None and time.time() < began + moment:
        time.sleep(0.05)
    finished = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return time.time() - began, finished


def logged_losses(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Every logged line's step and losses.

    What a process logged before it died was logged again by the next one, or cut off.
    """
    lines = []
    for text in (workdir / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        lines.append({name: line[name] for name in line if name == "step" or "loss" in name})
    return lines


def steps(workdir: pathlib.Path) -> int:
    """How many lines of metrics there are."""
    path = workdir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def snapshots(workdir: pathlib.Path) -> list[str]:
    """The names of the snapshots that a run could go on from."""
    folder = workdir / "checkpoints"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def same_model(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Whether every array of the two runs' results is equal, bit for bit."""
    first = open_checkpoint(a / "model")
    second = open_checkpoint(b / "model")
    if first.preset != second.preset:
        return False
    others = second.stored_arrays("dit")
    for path, stored in first.stored_arrays("dit").items():
        if not np.array_equal(stored.read(), others[path].read()):
            return False
    return True


if __name__ == "__main__":
    cli.run(main)
