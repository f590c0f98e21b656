"""The loop that runs a stage: data in, steps, and what must be kept if the machine goes away at any moment."""

import functools
import itertools
import math
import pathlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from shotstream_jax.checkpoint.save import save_parts
from shotstream_jax.core.devices import device_peak
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding
from shotstream_jax.data.batches import Batches, local_rows
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.run import start as begin
from shotstream_jax.train.run import workdir as folder
from shotstream_jax.train.run.log import Log
from shotstream_jax.train.run.snapshots import Snapshots
from shotstream_jax.train.setup import Frozen, State, to_devices
from shotstream_jax.train.stage import Data, Stage


class Run:
    """A stage in its workdir. `train` returns when all steps are done, or after a snapshot when asked to stop."""

    def __init__(self, recipe: Recipe, stage: Stage, dataset: Data, workdir: pathlib.Path):
        self.recipe, self.stage, self.dataset, self.workdir = recipe, stage, dataset, workdir
        self.main = jax.process_index() == 0
        self.description = folder.describe(recipe, stage.setup.preset)
        source = stage.source(dataset)
        run, mesh = recipe.run, stage.setup.mesh
        rows = local_rows(batch_sharding(mesh, 1), run.batch)
        load = functools.partial(stage.load, dataset)
        threads = recipe.data.workers
        deal = functools.partial(
            Batches, load=load, size=run.batch, rows=rows, seed=run.seed, workers=threads
        )
        self.batches = deal(source.train)
        self.held_out = deal(source.held_out) if source.held_out else None
        if self.held_out is None and run.held_out_every:
            raise InputError(
                "no sample is held out: raise data.held_out, or set run.held_out_every=0"
            )
        self.fps = source.fps
        left_out = "".join(f", {count} {what}" for what, count in source.left_out.items() if count)
        logging.info(
            "%d to train on, %d held out%s", len(source.train), len(source.held_out), left_out
        )
        folder.claim(workdir, self.description, self.main)
        self.snapshots = Snapshots(workdir / "checkpoints", run.keep_last, run.keep_every)

    def train(self) -> None:
        run = self.recipe.run
        with jax.set_mesh(self.stage.setup.mesh), _sigterm() as asked:
            state, frozen, first = self._start()
            if first >= run.steps:
                logging.info("all %d steps are done", run.steps)
            log = Log(self.workdir, first, run.steps, self.main)
            try:
                state = self._steps(state, frozen, first, log, asked)
            finally:
                log.close()
                self.snapshots.close()

    def _steps(self, state: State, frozen: Frozen, first: int, log: Log, asked: list[int]) -> State:
        run, stage = self.recipe.run, self.stage
        if run.held_out_every and first == 0:  # what the stage starts from, as step −1
            log.write([{"step": -1} | self._held_out_loss(state, frozen)])
            log.resume()
        at, rows = -1, {}
        for i in range(first, run.steps):
            if stage.batch_index(i) != at:
                at = stage.batch_index(i)
                rows = to_devices(stage.setup.mesh, self.batches.at(at), run.batch)
            state, metrics = stage.step(i, state, frozen, rows)
            log.add(i, metrics, stage.flops(i))
            done, stop = i + 1, _must_stop(asked, i + 1)
            due = lambda every: every and (done % every == 0 or done == run.steps)  # noqa: B023, E731
            if stop or due(run.log_every) or due(run.save_every):
                log.flush(self._tokens, self._peak)
            if due(run.held_out_every):
                log.write([{"step": i} | self._held_out_loss(state, frozen)])
                log.resume()
            if due(run.sample_every):
                self._sample(state, frozen, done)
                log.resume()
            if stop or due(run.save_every):
                self._save(done, state)
                log.resume()
            if stop:
                logging.info(
                    "asked to stop: saved after step %d; the same command goes on from there", done
                )
                return state
        self._finish(state, frozen)
        return state

    def _start(self) -> tuple[State, Frozen, int]:
        """A fresh state, or the newest snapshot's."""
        state, frozen = begin.fresh_state(self.recipe, self.stage, self.dataset)
        number = self.snapshots.latest
        if number is None:
            return state, frozen, 0
        abstract = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
        )
        del state
        state = self.snapshots.restore(number, abstract)
        meta = self.snapshots.meta(number)
        if meta["data"] != self.batches.state(self.stage.batch_index(number)):
            raise InputError(
                f"checkpoint {number} of {self.workdir} is elsewhere in the data: use another --workdir"
            )
        logging.info("going on after step %d", number)
        return state, frozen, number

    def _save(self, done: int, state: State) -> None:
        index = self.stage.batch_index(done)
        meta = {
            "step": done,
            "seed": self.recipe.run.seed,
            "data": self.batches.state(index),
        } | self.description
        self.snapshots.save(done, state, meta)

    def _held_out_loss(self, state: State, frozen: Frozen) -> dict[str, float]:
        found = []
        for n in range(self.recipe.run.held_out_batches):
            rows = to_devices(self.stage.setup.mesh, self.held_out.at(n), self.recipe.run.batch)
            found.append(self.stage.held_out(state, frozen, rows, n))
        means = jax.tree.map(lambda *values: float(np.mean(jax.device_get(values))), *found)
        return {f"held_out/{name}": value for name, value in means.items()}

    def _sample(self, state: State, frozen: Frozen, done: int) -> None:
        """Writes a video of the first stories of a fixed batch."""
        setup, source = self.stage.setup, self.held_out or self.batches
        rows = to_devices(setup.mesh, source.at(0), self.recipe.run.batch)
        frames = [folder.gather(shot) for shot in self.stage.sample(state, frozen, rows)]
        if self.main:
            path = folder.write_samples(
                self.workdir, done, np.concatenate(frames, axis=1), self.fps
            )
            logging.info("sample: %s", path)

    def _finish(self, state: State, frozen: Frozen) -> None:
        """Writes the networks that the stage is for, and the rest of what it started from, as a checkpoint folder."""
        self.snapshots.wait()
        trained = {}
        for name in self.stage.results:
            network = self.stage.networks.moving[name]
            whole = jax.jit(network.averaged)(state[name], frozen[name])
            trained[network.origin.part] = jax.tree.map(
                lambda a: a.astype(np.float32), folder.gather(whole)
            )
        batches = (
            to_devices(self.stage.setup.mesh, self.batches.at(n), self.recipe.run.batch)
            for n in itertools.count()
        )
        sizes = self.stage.sizes(trained, batches)
        if self.main:
            save_parts(trained, sizes, self.recipe.start.checkpoint, self.workdir / "model")
            logging.info("%s: done", self.workdir / "model")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("model written")

    @property
    def _tokens(self) -> int:
        setup = self.stage.setup
        return setup.run.batch * setup.frames * math.prod(setup.preset.dit.grid(*setup.grid))

    @property
    def _peak(self) -> float | None:
        peak = device_peak(jax.devices()[0])
        return peak.flops * len(jax.devices()) if peak else None


@contextmanager
def _sigterm() -> Iterator[list[int]]:
    """A list that a SIGTERM (preemption) fills. Among processes JAX's own service catches it, and agrees on a step."""
    asked: list[int] = []
    if jax.process_count() > 1:
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


def _must_stop(asked: list[int], step: int) -> bool:
    return (
        multihost_utils.reached_preemption_sync_point(step)
        if jax.process_count() > 1
        else bool(asked)
    )
