"""Stage 2 without pairs: causal consistency distillation.

The loss is in train/losses/consistency; the autoregressive teacher is made by stage 1 (causal).
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import flax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.typing import Array, Float, Params
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.rows import ShotBatch, embedding_reader, target_row
from shotstream_jax.data.samples import Sample
from shotstream_jax.model import compute_params
from shotstream_jax.presets import Preset
from shotstream_jax.train.flops import forcing_flops
from shotstream_jax.train.losses.consistency import (
    ConsistencyParams,
    consistency_loss,
    noise_levels,
)
from shotstream_jax.train.losses.teacher_forcing import ForcingDraws, draw_forcing
from shotstream_jax.train.network import Network, Origin, Weights
from shotstream_jax.train.recipe import ConsistencyRecipe
from shotstream_jax.train.setup import Setup, abstract_batch, abstract_conditions
from shotstream_jax.train.stages.samples import sample_student
from shotstream_jax.train.stages.stage import (
    Pictures,
    Source,
    compiled,
    compiled_step,
    shots_source,
)
from shotstream_jax.train.state import TrainState
from shotstream_jax.train.step import Metrics

DIT = Origin("start", "dit")


@flax.struct.dataclass
class ConsistencyState:
    """What changes: the student, with the average that gives it its targets."""

    student: TrainState


@flax.struct.dataclass
class ConsistencyFixed:
    """What the steps only read.

    student: the parameters that do not move. teacher: the autoregressive teacher's.
    negative [1, l, e]: the embedding of the negative prompt.
    """

    student: Params
    teacher: Params
    negative: Array


@dataclasses.dataclass(frozen=True)
class ConsistencyStage:
    """Stage 2 without pairs."""

    recipe: ConsistencyRecipe
    setup: Setup

    @property
    def student(self) -> Network:
        """The few-step student; it begins with the autoregressive teacher's weights."""
        return self.setup.network(DIT, self.recipe.trained, self.recipe.optim)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""
        return (DIT,)

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """The weights that `fixed` is made of: the teacher is always among them."""
        return (DIT,)

    @property
    def negative(self) -> str:
        """The teacher is guided away from the negative prompt."""
        return "embedding"

    def initial_state(self, weights: Weights) -> ConsistencyState:
        """The state before the first step."""
        return ConsistencyState(self.student.initial_state(weights, self.setup.key("adapter", 0)))

    def fixed(self, weights: Weights, negative: Array | None) -> ConsistencyFixed:
        """What the steps only read."""
        assert negative is not None
        teacher = compute_params(weights[DIT], self.setup.dtype)
        return ConsistencyFixed(self.student.frozen(weights), teacher, negative)

    def shardings(
        self, state: ConsistencyState, fixed: ConsistencyFixed
    ) -> tuple[ConsistencyState, ConsistencyFixed]:
        """Where all arrays lie."""
        mesh = self.setup.mesh
        moving = ConsistencyState(self.student.state_shardings(mesh, state.student))
        read_only = ConsistencyFixed(
            student=self.student.frozen_shardings(mesh, fixed.student),
            teacher=self.student.frozen_shardings(mesh, fixed.teacher),
            negative=self.setup.whole,
        )
        return moving, read_only

    def source(self, data: Dataset, start: Checkpoint) -> Source:
        """Target shots with their conditions."""
        read_caption = embedding_reader(self.setup.preset.dit.text_len)

        def load(sample: Sample) -> ShotBatch:
            """A target shot with its conditions."""
            return target_row(data, sample, self.recipe.data, read_caption)

        return shots_source(data, self.recipe.data, load)

    def batch_index(self, step: int) -> int:
        """A batch a step."""
        return step

    def step(
        self, i: int, state: ConsistencyState, fixed: ConsistencyFixed, batch: ShotBatch
    ) -> tuple[ConsistencyState, Metrics]:
        """One optimiser step."""
        return compiled_step(consistency_step, self)(state, fixed, batch, np.int32(i))

    def held_out(
        self, state: ConsistencyState, fixed: ConsistencyFixed, batch: ShotBatch, number: int
    ) -> Metrics:
        """The loss on a batch that is never trained on."""
        return compiled(held_out_consistency_loss, self)(state, fixed, batch, np.int32(number))

    def sample(
        self,
        state: ConsistencyState,
        fixed: ConsistencyFixed,
        batch: ShotBatch,
        decode: Callable[[Array], Pictures],
    ) -> list[Pictures]:
        """The batch's shots as the student makes them."""
        return [decode(compiled(sample_consistency, self)(state, fixed, batch))]

    def trained_parts(self, state: ConsistencyState, fixed: ConsistencyFixed) -> dict[str, Params]:
        """The student."""
        return {"dit": self.student.averaged_params(state.student, fixed.student)}

    def trained_preset(self, trained: dict[str, Params], batches: Iterator[Any]) -> Preset:
        """The sizes stay."""
        return self.setup.preset

    def flops(self, i: int) -> float:
        """The student forward and twice as much backward, its average, the guided teacher."""
        setup = self.setup
        memory = setup.preset.memory
        forward = forcing_flops(
            setup.preset.dit, memory, setup.frames, setup.frame_tokens, memory.captions
        )
        teacher = 3 if self.recipe.consistency.guidance.context else 2
        return setup.run.batch * (3 + 1 + teacher) * forward

    def programs(self, state: ConsistencyState, fixed: ConsistencyFixed) -> Iterator[Program]:
        """The one step."""
        setup = self.setup
        shot = abstract_batch(setup, (setup.frames, *setup.latent_shape), jnp.float32)
        batch = ShotBatch(shot, abstract_conditions(setup, setup.preset.memory.captions))
        arguments = (state, fixed, batch, np.int32(0))
        yield Program("step", compiled_step(consistency_step, self), arguments, self.flops(0))


def consistency_step(
    stage: ConsistencyStage,
    state: ConsistencyState,
    fixed: ConsistencyFixed,
    batch: ShotBatch,
    i: Array,
) -> tuple[ConsistencyState, Metrics]:
    """One optimiser step; the average follows."""
    draws = _draw(stage, batch, "train", i)
    average = _average_params(stage, state, fixed)

    def loss(moves: Params, rows: tuple[ShotBatch, ForcingDraws]) -> Any:
        """Of micro-batch rows, as train/step wants it."""
        student = stage.student.params(moves, fixed.student)
        params = ConsistencyParams(student, average, fixed.teacher)
        return batch_loss(stage, params, fixed.negative, *rows), ({}, None)

    pieces = stage.recipe.run.accumulate
    student, metrics, _ = stage.student.step(state.student, (batch, draws), loss, pieces)
    return ConsistencyState(student), metrics


def held_out_consistency_loss(
    stage: ConsistencyStage,
    state: ConsistencyState,
    fixed: ConsistencyFixed,
    batch: ShotBatch,
    number: Array,
) -> Metrics:
    """The same loss, with draws that depend on the batch's number only."""
    student = stage.student.params(state.student.moves, fixed.student)
    params = ConsistencyParams(student, _average_params(stage, state, fixed), fixed.teacher)
    draws = _draw(stage, batch, "held_out", number)
    return {"loss": batch_loss(stage, params, fixed.negative, batch, draws)}


def sample_consistency(
    stage: ConsistencyStage, state: ConsistencyState, fixed: ConsistencyFixed, batch: ShotBatch
) -> Float[Array, "b f h w c"]:
    """The batch's shots by the student in training."""
    params = stage.student.params(state.student.moves, fixed.student)
    return sample_student(stage.setup, params, batch.conditions, stage.setup.key("sample"))


def batch_loss(
    stage: ConsistencyStage,
    params: ConsistencyParams,
    negative: Float[Array, "1 l e"],
    batch: ShotBatch,
    draws: ForcingDraws,
) -> Float[Array, ""]:
    """The consistency loss of a batch."""
    setup = stage.setup
    config = stage.recipe.consistency
    shot = (batch.target, batch.conditions)
    return consistency_loss(setup.forced, setup.steps, config, params, *shot, negative, draws)


def _average_params(
    stage: ConsistencyStage, state: ConsistencyState, fixed: ConsistencyFixed
) -> Params:
    """θ⁻: the average, or the student's own parameters where there is none."""
    student = state.student
    moves = student.moves if student.ema is None else student.ema
    return stage.student.params(moves, fixed.student)


def _draw(stage: ConsistencyStage, batch: ShotBatch, name: str, number: Array) -> ForcingDraws:
    setup = stage.setup
    levels = noise_levels(setup.steps, stage.recipe.consistency.pieces)
    key = setup.key(name, number)
    shape = batch.target.shape
    chunk = setup.preset.memory.chunk
    return draw_forcing(key, shape, chunk, len(levels) - 1, stage.recipe.dropout)
