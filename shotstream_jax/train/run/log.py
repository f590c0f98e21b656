"""What a run says of itself: metrics.jsonl (a line a step), TensorBoard, and a progress bar. Process 0 only."""

import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from shotstream_jax.core.devices import peak_rss_mb
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import write_whole
from shotstream_jax.train.step import Metrics


class Log:
    """Collects steps' metrics on the devices and fetches them together, so that steps need not wait for each other."""

    def __init__(self, workdir: pathlib.Path, first: int, steps: int, main: bool):
        self._path, self._main = workdir / "metrics.jsonl", main
        self._waiting: list[tuple[int, Metrics]] = []
        self._since, self._steps, self._flops = time.perf_counter(), 0, 0.0
        if main:
            cut_back(self._path, first)
            self._board = SummaryWriter(
                str(workdir / "tensorboard"), purge_step=first, flush_secs=10
            )
        self._bar = tqdm(total=steps, initial=first, unit="step", disable=not main)

    def add(self, step: int, metrics: Metrics, flops: float) -> None:
        self._waiting.append((step, metrics))
        self._steps, self._flops = self._steps + 1, self._flops + flops

    def flush(self, tokens: int, peak: float | None) -> None:
        """Fetches and writes all that waits. tokens: of a step; peak: FLOP/s of all devices.

        Raises InputError at the first metric that is not finite, after everything up to it is written.
        """
        if not self._waiting:
            return
        rows = [
            {"step": step} | {k: float(v) for k, v in m.items()}
            for step, m in jax.device_get(self._waiting)
        ]
        seconds = (time.perf_counter() - self._since) / self._steps
        rate = self._flops / self._steps / seconds
        rows[-1] |= {"seconds": seconds, "tokens_per_s": tokens / seconds, "tflops": rate / 1e12}
        if peak:
            rows[-1]["mfu"] = rate / peak
        rows[-1] |= memory()
        self.write(rows)
        self._bar.update(rows[-1]["step"] + 1 - self._bar.n)
        losses = {
            name: f"{value:.4g}"
            for row in rows
            for name, value in row.items()
            if name.endswith("loss")
        }
        self._bar.set_postfix(losses, refresh=False)
        self._waiting = []
        self.resume()
        for row in rows:
            if bad := sorted(name for name, value in row.items() if not np.isfinite(value)):
                raise InputError(
                    f"step {row['step']}: {', '.join(bad)} not finite; stopped, nothing of it is saved"
                )

    def resume(self) -> None:
        """Starts the clock anew: what went before was no training."""
        self._since, self._steps, self._flops = time.perf_counter(), 0, 0.0

    def write(self, rows: list[dict[str, Any]]) -> None:
        if not self._main:
            return
        with self._path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        for row in rows:
            for name, value in row.items():
                if name != "step":
                    self._board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._bar.close()
        if self._main:
            self._board.close()


def cut_back(path: pathlib.Path, first: int) -> None:
    """Drops the lines of steps that the restored state has not made, and a line that was not finished.

    first: the next step. A run that begins anew, at 0, measures its start (step −1) once more.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if first and row["step"] < first:
            kept.append(line + "\n")
    write_whole(path, "".join(kept).encode())


def memory() -> dict[str, float]:
    """Peak memory in MB: of the first device where it tells, of the process otherwise."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return {"device_memory_mb": stats["peak_bytes_in_use"] / 2**20}
    return {"host_memory_mb": peak_rss_mb()}
