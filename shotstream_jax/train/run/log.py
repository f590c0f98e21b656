"""What a run says of itself: metrics.jsonl, TensorBoard and a progress bar; process 0 only.

Process 0 only.
"""

import contextlib
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
from tensorboardX import SummaryWriter

from shotstream_jax.core.devices import peak_rss_mb
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.core.progress import progress_bar, waiting
from shotstream_jax.train.run.speed import Machine
from shotstream_jax.train.step import Metrics


class Log:
    """Collects metrics on the devices and fetches them together, so that steps need not wait."""

    def __init__(self, workdir: pathlib.Path, first: int, steps: int, is_main: bool):
        """first: the next step. steps: of the run. is_main: whether this process writes."""
        self._path = workdir / "metrics.jsonl"
        self._is_main = is_main
        self._waiting: list[tuple[int, Metrics]] = []
        if is_main:
            cut_back(self._path, first)
            folder = str(workdir / "tensorboard")
            self._board = SummaryWriter(folder, purge_step=first, flush_secs=10)
        # Until the first step has been made, the bar says why it stands still.
        what = "compiling" if first < steps else ""
        self._bar = progress_bar(
            total=steps, initial=first, unit="step", desc=what, disable=not is_main
        )
        self._first_step = contextlib.ExitStack()
        if is_main and what:
            self._first_step.enter_context(waiting(self._bar, what))
        self.restart_clock()

    def restart_clock(self) -> None:
        """Starts to measure speed anew: what went before was not training."""
        self._since = time.perf_counter()
        self._steps = 0
        self._flops = 0.0

    def add(self, step: int, metrics: Metrics, flops: float) -> None:
        """Keeps a step's metrics. flops: floating-point operations of the step."""
        self._first_step.close()
        self._waiting.append((step, metrics))
        self._steps += 1
        self._flops += flops

    def flush(self, tokens: int, machine: Machine) -> None:
        """Fetches and writes all that waits.

        Args:
          tokens: of a step.
          machine: what the speed is taken against.

        Raises:
          InputError: at the first metric that is not finite, after everything up to it is written.
        """
        if not self._waiting:
            return
        # 1. The metrics, in one transfer for all steps.
        rows = []
        for step, metrics in jax.device_get(self._waiting):
            row: dict[str, Any] = {"step": step}
            for name, value in metrics.items():
                row[name] = float(value)
            rows.append(row)
        # 2. The newest row says how fast it went, on average over these steps.
        last = rows[-1]
        seconds = (time.perf_counter() - self._since) / self._steps
        rate = self._flops / self._steps / seconds
        last["seconds"] = seconds
        last["tokens_per_s"] = tokens / seconds
        last["tflops"] = rate / 1e12
        share = machine.mfu(rate)
        if share is not None:
            last["mfu"] = share
        last.update(peak_memory())
        # 3. Everything is on disk before a bad value stops the run.
        self.write(rows)
        self._show(rows, machine.shown(rate) if rate else {})
        self._waiting = []
        self.restart_clock()
        for row in rows:
            bad = sorted(name for name, value in row.items() if not np.isfinite(value))
            if bad:
                raise InputError(
                    f"step {row['step']}: {', '.join(bad)} not finite; "
                    "stopped, nothing of it is saved"
                )

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Writes rows, each with its step and its metrics."""
        if not self._is_main:
            return
        with self._path.open("a") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        for row in rows:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Ends the bar and TensorBoard's file."""
        self._first_step.close()
        self._bar.close()
        if self._is_main:
            self._board.close()

    def _show(self, rows: list[dict[str, Any]], speed: dict[str, str]) -> None:
        """The bar, with the newest value of each loss and the speed."""
        shown = {}
        for row in rows:
            for name, value in row.items():
                if name.endswith("loss"):
                    shown[name] = f"{value:.4g}"
        self._bar.update(rows[-1]["step"] + 1 - self._bar.n)
        self._bar.set_postfix(shown | speed, refresh=False)


def cut_back(path: pathlib.Path, first: int) -> None:
    """Drops the lines of steps that the restored state has not made, and a line that was not
    finished.

    first: the next step. A run that begins anew, at 0, measures its start (step −1) once more.
    """
    if not path.exists():
        return
    # A line that was cut off by the end of the machine is not JSON.
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if first > 0 and row["step"] < first:
            kept.append(line + "\n")
    write_whole(path, "".join(kept).encode())


def peak_memory() -> dict[str, float]:
    """Peak memory in MB: of the first device where it tells, of the process otherwise."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return {"device_memory_mb": stats["peak_bytes_in_use"] / 2**20}
    return {"host_memory_mb": peak_rss_mb()}
