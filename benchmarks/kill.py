"""Kill a training run again and again, and compare what comes out with a run that nobody touched.

    python benchmarks/kill.py --kills 20 --dir out/kill -- --config configs/film.py:dmd_intra --config.run.steps=60 …

Everything after `--` goes to `python -m shotstream_jax.train`. First the undisturbed run (in DIR/calm); then the same
one in DIR/rough, ended with SIGKILL at random moments and started again. Prints what it saw as JSON lines, and at last
whether every parameter and every logged loss is equal, bit for bit. Exit code 1 if not.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np

from shotstream_jax.checkpoint.checkpoint import open_checkpoint


def main() -> None:
    words = sys.argv[1:]
    ours, theirs = (
        (words[: words.index("--")], words[words.index("--") + 1 :])
        if "--" in words
        else (words, [])
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--dir", type=pathlib.Path, required=True, help="a new folder for both runs"
    )
    parser.add_argument(
        "--longest", type=float, default=30.0, help="a process lives at most this long, in seconds"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args(ours)
    calm, rough = args.dir / "calm", args.dir / "rough"
    start(calm, theirs).wait()
    draw = random.Random(args.seed)
    for kill in range(args.kills):
        process, before = start(rough, theirs), time.time()
        moment = draw.uniform(0.5, args.longest)
        while process.poll() is None and time.time() < before + moment:
            time.sleep(0.05)
        finished = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        say(
            kill=kill,
            after_s=round(time.time() - before, 1),
            steps_logged=steps(rough),
            snapshots=snapshots(rough),
        )
        if finished:
            sys.exit(
                "the run was over before the last kill: give it more steps, or lower --longest"
            )
    if start(rough, theirs).wait():
        sys.exit("the last start failed")
    equal = {"parameters": same_model(calm, rough), "losses": losses(calm) == losses(rough)}
    say(kills=args.kills, steps=steps(rough), equal=equal)
    sys.exit(0 if all(equal.values()) else 1)


def start(workdir: pathlib.Path, words: list[str]) -> subprocess.Popen:
    log = workdir.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "shotstream_jax.train", *words, f"--workdir={workdir}"]
    return subprocess.Popen(command, stderr=log.open("a"))


def losses(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Every line's losses: what was logged by a process that died later was logged again, or cut back."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k == "step" or "loss" in k} for line in lines
    ]


def steps(workdir: pathlib.Path) -> int:
    path = workdir / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def snapshots(workdir: pathlib.Path) -> list[str]:
    folder = workdir / "checkpoints"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def same_model(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Every array of the two results."""
    first = open_checkpoint(a / "model")
    second = open_checkpoint(b / "model")
    assert first.preset == second.preset
    others = second.stored_arrays("dit")
    return all(
        np.array_equal(stored.read(), others[path].read())
        for path, stored in first.stored_arrays("dit").items()
    )


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
