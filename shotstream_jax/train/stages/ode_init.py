"""Stage 2: causal initialisation.

The loss is in train/losses/ode_regression, the pairs are made by train/ode_pairs.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.checkpoint.checksum import part_checksum
from shotstream_jax.core.typing import Array, Float, Leaf, Params
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.pairs import open_pairs
from shotstream_jax.data.rows import condition_row, embedding_reader
from shotstream_jax.data.samples import held_out_clips
from shotstream_jax.presets import Preset
from shotstream_jax.train.flops import chunks_flops, prefill_flops
from shotstream_jax.train.losses.ode_regression import (
    PairBatch,
    RegressionDraws,
    draw_regression,
    regression_loss,
)
from shotstream_jax.train.network import Network, Origin, Weights
from shotstream_jax.train.recipe import OdeRecipe
from shotstream_jax.train.setup import Setup, abstract_batch, abstract_conditions
from shotstream_jax.train.stages.samples import sample_student
from shotstream_jax.train.stages.stage import Pictures, Source, compiled, compiled_step
from shotstream_jax.train.state import TrainState
from shotstream_jax.train.step import Metrics

DIT = Origin("start", "dit")


@flax.struct.dataclass
class StudentState:
    """What changes."""

    student: TrainState


@flax.struct.dataclass
class StudentFixed:
    """What the steps only read: the student's parameters that do not move."""

    student: Params


@dataclasses.dataclass(frozen=True)
class OdeInitStage:
    """Stage 2."""

    recipe: OdeRecipe
    setup: Setup

    @property
    def student(self) -> Network:
        """The causal student; it begins with the teacher's weights."""
        return self.setup.network(DIT, self.recipe.trained, self.recipe.optim)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""
        return (DIT,)

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """The weights that `fixed` is made of."""
        return (DIT,) if self.student.has_frozen else ()

    @property
    def negative(self) -> str:
        """The negative prompt is not used: the pairs have it in them."""
        return "none"

    @property
    def trajectory_shape(self) -> tuple[int, ...]:
        """Of one trajectory: (kept, f, h, w, c)."""
        kept = len(self.setup.steps.nominal) + 1
        return (kept, self.setup.frames, *self.setup.latent_shape)

    def initial_state(self, weights: Weights) -> StudentState:
        """The state before the first step."""
        return StudentState(self.student.initial_state(weights, self.setup.key("adapter", 0)))

    def fixed(self, weights: Weights, negative: Array | None) -> StudentFixed:
        """What the steps only read."""
        return StudentFixed(self.student.frozen(weights))

    def shardings(
        self, state: StudentState, fixed: StudentFixed
    ) -> tuple[StudentState, StudentFixed]:
        """Where all arrays lie."""
        mesh = self.setup.mesh
        moving = self.student.state_shardings(mesh, state.student)
        frozen = self.student.frozen_shardings(mesh, fixed.student)
        return StudentState(moving), StudentFixed(frozen)

    def source(self, data: Dataset, start: Checkpoint) -> Source:
        """The pairs, by their numbers."""
        # A pair is held out with its clip, as in the other stages.
        teacher_sha256 = functools.partial(part_checksum, start, "dit")
        pairs = open_pairs(self.recipe.pairs.path, data, self.trajectory_shape, teacher_sha256)
        held_out_numbers = held_out_clips(data, self.recipe.data.held_out)
        # Samples are the numbers of the pairs.
        train = []
        held_out = []
        for number, (clip, _) in enumerate(pairs.samples):
            if int(clip) in held_out_numbers:
                held_out.append(number)
            else:
                train.append(number)
        read_caption = embedding_reader(self.setup.preset.dit.text_len)

        def load(number: int) -> PairBatch:
            """A pair with the conditions of its shot."""
            clip, shot = pairs.samples[number]
            record = data.record(int(clip))
            context = data.settings.context
            conditions = condition_row(record, int(shot), context, read_caption)
            trajectory: Leaf = pairs.read(number)
            return PairBatch(trajectory, conditions)

        left_out = {"clips that could not be encoded": len(data.broken)}
        identity = f"{data.fingerprint} {pairs.identity}"
        return Source(train, held_out, load, data.settings.fps, left_out, identity)

    def batch_index(self, step: int) -> int:
        """A batch a step."""
        return step

    def step(
        self, i: int, state: StudentState, fixed: StudentFixed, batch: PairBatch
    ) -> tuple[StudentState, Metrics]:
        """One optimiser step."""
        return compiled_step(regression_step, self)(state, fixed, batch, np.int32(i))

    def held_out(
        self, state: StudentState, fixed: StudentFixed, batch: PairBatch, number: int
    ) -> Metrics:
        """The loss on a batch that is never trained on."""
        return compiled(held_out_regression_loss, self)(state, fixed, batch, np.int32(number))

    def sample(
        self,
        state: StudentState,
        fixed: StudentFixed,
        batch: PairBatch,
        decode: Callable[[Array], Pictures],
    ) -> list[Pictures]:
        """The pairs' shots as the student makes them."""
        return [decode(compiled(sample_regression, self)(state, fixed, batch))]

    def trained_parts(self, state: StudentState, fixed: StudentFixed) -> dict[str, Params]:
        """The student."""
        return {"dit": self.student.averaged_params(state.student, fixed.student)}

    def trained_preset(self, trained: dict[str, Params], batches: Iterator[Any]) -> Preset:
        """The sizes stay."""
        return self.setup.preset

    def flops(self, i: int) -> float:
        """Forward, and twice as much backward."""
        setup = self.setup
        cfg = setup.preset.dit
        memory = setup.preset.memory
        tokens = setup.frame_tokens
        forward = prefill_flops(cfg, memory, tokens)
        forward += chunks_flops(cfg, memory, setup.frames, tokens)
        return setup.run.batch * 3 * forward

    def programs(self, state: StudentState, fixed: StudentFixed) -> Iterator[Program]:
        """The one step."""
        setup = self.setup
        batch = PairBatch(
            trajectory=abstract_batch(setup, self.trajectory_shape, jnp.float32),
            conditions=abstract_conditions(setup, setup.preset.memory.captions),
        )
        arguments = (state, fixed, batch, np.int32(0))
        yield Program("step", compiled_step(regression_step, self), arguments, self.flops(0))


def regression_step(
    stage: OdeInitStage, state: StudentState, fixed: StudentFixed, batch: PairBatch, i: Array
) -> tuple[StudentState, Metrics]:
    """One optimiser step on the regression of x₀."""
    draws = _draw(stage, batch, "train", i)

    def loss(moves: Params, rows: tuple[PairBatch, RegressionDraws]) -> Any:
        """Of micro-batch rows, as train/step wants it."""
        params = stage.student.params(moves, fixed.student)
        return student_loss(stage, params, *rows), ({}, None)

    pieces = stage.recipe.run.accumulate
    student, metrics, _ = stage.student.step(state.student, (batch, draws), loss, pieces)
    return StudentState(student), metrics


def held_out_regression_loss(
    stage: OdeInitStage,
    state: StudentState,
    fixed: StudentFixed,
    batch: PairBatch,
    number: Array,
) -> Metrics:
    """The same loss, with draws that depend on the batch's number only."""
    params = stage.student.params(state.student.moves, fixed.student)
    draws = _draw(stage, batch, "held_out", number)
    return {"loss": student_loss(stage, params, batch, draws)}


def sample_regression(
    stage: OdeInitStage, state: StudentState, fixed: StudentFixed, batch: PairBatch
) -> Float[Array, "b f h w c"]:
    """The pairs' shots by the student, from other noise than the trajectories'."""
    params = stage.student.params(state.student.moves, fixed.student)
    key = stage.setup.key("sample")
    return sample_student(stage.setup, params, batch.conditions, key)


def student_loss(
    stage: OdeInitStage, params: Params, batch: PairBatch, draws: RegressionDraws
) -> Float[Array, ""]:
    """The regression loss of a batch."""
    setup = stage.setup
    return regression_loss(setup.student, setup.steps, setup.schedule, params, batch, draws)


def _draw(stage: OdeInitStage, batch: PairBatch, name: str, number: Array) -> RegressionDraws:
    key = stage.setup.key(name, number)
    chunk = stage.setup.preset.memory.chunk
    return draw_regression(key, batch, chunk, stage.recipe.dropout)
