"""The loop that runs a stage: data in, steps, and what must survive the end of the machine."""

import functools
import itertools
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from shotstream_jax.checkpoint.save import save_parts
from shotstream_jax.checkpoint.trained_for import STUDENT, TEACHER, TrainedFor
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding
from shotstream_jax.core.typing import Array, Params
from shotstream_jax.data.batches import Batches, local_rows
from shotstream_jax.data.samples import losses_text
from shotstream_jax.train.network import Checkpoints
from shotstream_jax.train.recipe import TrainRecipe
from shotstream_jax.train.run import stopping
from shotstream_jax.train.run import workdir as folder
from shotstream_jax.train.run.log import Log
from shotstream_jax.train.run.snapshots import Snapshots
from shotstream_jax.train.run.speed import this_machine
from shotstream_jax.train.run.start import new_run, resumed_run
from shotstream_jax.train.setup import to_devices
from shotstream_jax.train.stages.stage import Pictures, Stage, StageFixed, StageState, TrainingData
from shotstream_jax.vae import codec

_SHOWN = 4  # stories of a sample video
_EXPLAINED = 100  # steps whose operations the first line tells


class Run:
    """A stage in its workdir."""

    def __init__(
        self,
        recipe: TrainRecipe,
        stage: Stage,
        data: TrainingData,
        checkpoints: Checkpoints,
        workdir: pathlib.Path,
    ):
        """Opens the data and the workdir; trains nothing yet.

        Raises InputError if they do not fit.
        """
        self.recipe = recipe
        self.stage = stage
        self.data = data
        self.checkpoints = checkpoints
        self.workdir = workdir
        self.is_main = jax.process_index() == 0

        # Batches to train on, and batches that are held out.
        source = stage.source(data, checkpoints.start)
        self.description = folder.describe(recipe, stage.setup.preset, source.identity)
        run = recipe.run
        make_batches = functools.partial(
            Batches,
            load=source.load,
            size=run.batch,
            rows=local_rows(batch_sharding(stage.setup.mesh, 1), run.batch),
            seed=run.seed,
            workers=recipe.data.workers,
        )
        self.fps = source.fps
        self.batches = make_batches(source.train)
        self.held_out: Batches | None = None
        if source.held_out:
            self.held_out = make_batches(source.held_out)
        elif run.held_out_every:
            raise InputError(
                "no sample is held out: raise data.held_out, or set run.held_out_every=0"
            )
        lost = losses_text(source.left_out)
        if lost:
            lost = f"; left out{lost[1:]}"
        logging.info("%d to train on, %d held out%s", len(source.train), len(source.held_out), lost)

        folder.claim(workdir, self.description, self.is_main)
        self.snapshots = Snapshots(workdir / "checkpoints", run.keep_last, run.keep_every)

    def train(self) -> None:
        """Returns when all steps are done, or after a snapshot when asked to stop (SIGTERM).

        Raises KeyboardInterrupt after the snapshot that a Ctrl-C asks for.
        """
        steps = self.recipe.run.steps
        with jax.set_mesh(self.stage.setup.mesh), stopping.stop_signals() as signals:
            state, fixed, first = self._start()
            if first >= steps:
                logging.info("all %d steps are done", steps)
            log = Log(self.workdir, first, steps, self.is_main)
            try:
                self._run_steps(state, fixed, first, log, signals)
            finally:
                log.close()
                self.snapshots.close()
        if signal.SIGINT in signals:
            raise KeyboardInterrupt

    def _start(self) -> tuple[StageState, StageFixed, int]:
        """State, fixed arrays and the first step: of a new run, or from the newest snapshot."""
        # Snapshots are named by the number of steps that they have behind them.
        if self.snapshots.latest is None:
            state, fixed = new_run(self.recipe.start, self.checkpoints, self.stage, self.data)
            return state, fixed, 0
        abstract, fixed = resumed_run(self.checkpoints, self.stage, self.data)
        number, state, facts = self.snapshots.restore_newest(abstract)
        # The data must go on where the snapshot was taken, or samples would be seen twice.
        if facts["data"] != self.batches.state(self.stage.batch_index(number)):
            raise InputError(
                f"checkpoint {number} of {self.workdir} is at another place in the data: "
                "use another --workdir"
            )
        logging.info("going on after step %d", number)
        return state, fixed, number

    def _run_steps(
        self, state: StageState, fixed: StageFixed, first: int, log: Log, signals: list[int]
    ) -> None:
        run = self.recipe.run
        stage = self.stage
        machine = this_machine()
        if first < run.steps:
            flops = [stage.flops(i) for i in range(first, min(first + _EXPLAINED, run.steps))]
            logging.info("%s", machine.explain(flops))
        if run.held_out_every and first == 0:
            # What the stage starts from, as step −1.
            log.write([{"step": -1} | self._held_out_losses(state, fixed)])
            log.restart_clock()
        batch_index = -1
        batch: Any = None
        for i in range(first, run.steps):
            # 1. The step's batch; several steps may share one.
            if stage.batch_index(i) != batch_index:
                batch_index = stage.batch_index(i)
                batch = self._global_batch(self.batches, batch_index)

            # 2. One optimiser step.
            state, metrics = stage.step(i, state, fixed, batch)
            log.add(i, metrics, stage.flops(i))

            # 3. What is due after it: log, held-out losses, samples, a snapshot.
            done = i + 1
            must_stop = stopping.must_stop(signals, done)
            saves = must_stop or self._is_due(run.save_every, done)
            if saves or self._is_due(run.log_every, done):
                log.flush(self._tokens_per_step(), machine)
            if self._is_due(run.held_out_every, done):
                log.write([{"step": i} | self._held_out_losses(state, fixed)])
                log.restart_clock()
            if self._is_due(run.sample_every, done):
                self._write_sample(state, fixed, done)
                log.restart_clock()
            if saves:
                self._save(done, state)
                log.restart_clock()
            if must_stop:
                self.snapshots.wait()
                logging.info(
                    "asked to stop: saved after step %d; the same command goes on from there", done
                )
                return
        self._write_model(state, fixed)

    def _is_due(self, every: int, done: int) -> bool:
        """Whether something that happens every so many steps (0: never), and at the end, is due."""
        if every == 0:
            return False
        return done % every == 0 or done == self.recipe.run.steps

    def _global_batch(self, batches: Batches, index: int) -> Any:
        """A batch on the devices."""
        rows = batches.at(index)
        return to_devices(self.stage.setup.mesh, rows, self.recipe.run.batch)

    def _save(self, done: int, state: StageState) -> None:
        """A snapshot after so many steps."""
        # With the state goes the place in the data, and the recipe for people.
        place = self.batches.state(self.stage.batch_index(done))
        facts = {"step": done, "seed": self.recipe.run.seed, "data": place}
        self.snapshots.save(done, state, facts | self.description)

    def _held_out_losses(self, state: StageState, fixed: StageFixed) -> dict[str, float]:
        """Means over the first batches that are held out."""
        assert self.held_out is not None
        # The same batches and the same draws every time, so that values can be compared.
        found: dict[str, list[float]] = {}
        for number in range(self.recipe.run.held_out_batches):
            batch = self._global_batch(self.held_out, number)
            metrics = self.stage.held_out(state, fixed, batch, number)
            for name, value in jax.device_get(metrics).items():
                found.setdefault(name, []).append(value)
        return {f"held_out/{name}": float(np.mean(values)) for name, values in found.items()}

    def _write_sample(self, state: StageState, fixed: StageFixed, done: int) -> None:
        """A video of the first stories of a fixed batch."""
        # Held-out stories where there are any: they show what was learned.
        batch = self._global_batch(self.held_out or self.batches, 0)
        shots = self.stage.sample(state, fixed, batch, self._decode)
        frames = [folder.gather(shot) for shot in shots]
        if self.is_main:
            video = np.concatenate(frames, axis=1)
            path = folder.write_samples(self.workdir, done, video, self.fps)
            logging.info("sample: %s", path)

    def _decode(self, latents: Array) -> Pictures:
        """Some stories' latents as pictures, by the checkpoint's autoencoder."""
        params, decode = self._decoder
        return decode(params, latents[:_SHOWN])

    @functools.cached_property
    def _decoder(self) -> tuple[Params, Callable[[Params, Array], Pictures]]:
        setup = self.stage.setup
        params = self.checkpoints.start.load_params("vae", mesh=setup.mesh)

        def decode(params: Params, latents: Array) -> Pictures:
            """Latents → uint8 pictures."""
            return codec.to_uint8(codec.decode(setup.vae, params, latents))

        return params, jax.jit(decode, out_shardings=setup.whole)

    def _write_model(self, state: StageState, fixed: StageFixed) -> None:
        """WORKDIR/model: what was trained, and the rest of what the run started from."""
        # 1. The networks that the stage is for, from their averages if there are any.
        self.snapshots.wait()
        parts = jax.jit(self.stage.trained_parts)(state, fixed)
        trained = {part: folder.gather(params) for part, params in parts.items()}
        # 2. The sizes that go with them; the autoencoder measures its latents for that.
        batches = (self._global_batch(self.batches, number) for number in itertools.count())
        preset = self.stage.trained_preset(trained, batches)
        # 3. One process writes; the others wait, or the next stage might read too early.
        if self.is_main:
            facts = {"dit": self._trained_for().facts()}
            save_parts(trained, preset, self.checkpoints.start, self.workdir / "model", facts)
            logging.info("%s: done", self.workdir / "model")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("model written")

    def _trained_for(self) -> TrainedFor:
        """What a transformer of this run is good for: its role, and the format of its shots."""
        setup = self.stage.setup
        rows, columns = setup.grid
        space = setup.preset.vae.space
        role = TEACHER if self.recipe.stage == "teacher" else STUDENT
        return TrainedFor(role, rows * space, columns * space, setup.frames)

    def _tokens_per_step(self) -> int:
        """Tokens of the target shots of a batch."""
        setup = self.stage.setup
        return setup.run.batch * setup.frames * setup.frame_tokens
