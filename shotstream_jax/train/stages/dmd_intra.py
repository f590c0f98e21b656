"""Stage 3: distribution matching within a shot, on the true earlier shots."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.typing import Array, Float, Params
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.rows import embedding_reader, target_row
from shotstream_jax.data.samples import Sample
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.presets import Preset
from shotstream_jax.train.network import Origin, Weights
from shotstream_jax.train.recipe import DmdRecipe
from shotstream_jax.train.setup import Setup, abstract_conditions
from shotstream_jax.train.stages.dmd import Distillation, DmdFixed, DmdState
from shotstream_jax.train.stages.samples import sample_student
from shotstream_jax.train.stages.stage import (
    Pictures,
    Source,
    compiled,
    compiled_step,
    shots_source,
)
from shotstream_jax.train.step import Metrics


@dataclasses.dataclass(frozen=True)
class IntraStage:
    """Stage 3. Batches are the conditions of real shots: the student makes the shots itself."""

    recipe: DmdRecipe
    setup: Setup

    @functools.cached_property
    def distillation(self) -> Distillation:
        """The networks and their steps."""
        return Distillation(self.recipe, self.setup)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""
        return self.distillation.origins

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """The weights that `fixed` is made of."""
        return self.distillation.fixed_origins

    @property
    def negative(self) -> str:
        """The real score is guided away from the negative prompt."""
        return "embedding"

    def initial_state(self, weights: Weights) -> DmdState:
        """The state before the first step."""
        return self.distillation.initial_state(weights)

    def fixed(self, weights: Weights, negative: Array | None) -> DmdFixed:
        """What the steps only read."""
        return self.distillation.fixed(weights, negative)

    def shardings(self, state: DmdState, fixed: DmdFixed) -> tuple[DmdState, DmdFixed]:
        """Where all arrays lie."""
        return self.distillation.shardings(state, fixed)

    def source(self, data: Dataset, start: Checkpoint) -> Source:
        """The conditions of target shots."""
        read_caption = embedding_reader(self.setup.preset.dit.text_len)

        def load(sample: Sample) -> Conditions:
            """The conditions of a target shot."""
            return target_row(data, sample, self.recipe.data, read_caption).conditions

        return shots_source(data, self.recipe.data, load)

    def batch_index(self, step: int) -> int:
        """A batch a step."""
        return step

    def step(
        self, i: int, state: DmdState, fixed: DmdFixed, batch: Conditions
    ) -> tuple[DmdState, Metrics]:
        """One optimiser step, of the student or of the fake score."""
        is_generator = self.recipe.distillation.trains_generator(i)
        step = intra_generator_step if is_generator else intra_critic_step
        return compiled_step(step, self)(state, fixed, batch, np.int32(i))

    def held_out(self, state: DmdState, fixed: DmdFixed, batch: Conditions, number: int) -> Metrics:
        """Both losses on a batch that is never trained on."""
        return compiled(held_out_intra_losses, self)(state, fixed, batch, np.int32(number))

    def sample(
        self,
        state: DmdState,
        fixed: DmdFixed,
        batch: Conditions,
        decode: Callable[[Array], Pictures],
    ) -> list[Pictures]:
        """The batch's shots as the student makes them."""
        return [decode(compiled(sample_intra, self)(state, fixed, batch))]

    def trained_parts(self, state: DmdState, fixed: DmdFixed) -> dict[str, Params]:
        """The student."""
        return self.distillation.trained_parts(state, fixed)

    def trained_preset(self, trained: dict[str, Params], batches: Iterator[Any]) -> Preset:
        """The sizes stay."""
        return self.setup.preset

    def flops(self, i: int) -> float:
        """Of the student's or the fake score's step."""
        return self.distillation.flops(self.recipe.distillation.trains_generator(i))

    def programs(self, state: DmdState, fixed: DmdFixed) -> Iterator[Program]:
        """Both kinds of steps."""
        batch = abstract_conditions(self.setup, self.setup.preset.memory.captions)
        arguments = (state, fixed, batch, np.int32(0))
        generator = compiled_step(intra_generator_step, self)
        critic = compiled_step(intra_critic_step, self)
        yield Program("generator", generator, arguments, self.distillation.flops(True))
        yield Program("critic", critic, arguments, self.distillation.flops(False))


def intra_generator_step(
    stage: IntraStage, state: DmdState, fixed: DmdFixed, batch: Conditions, i: Array
) -> tuple[DmdState, Metrics]:
    """One optimiser step of the student."""
    key = stage.setup.key("train", i)
    state, metrics, _ = stage.distillation.generator_step(state, fixed, batch, key)
    return state, metrics


def intra_critic_step(
    stage: IntraStage, state: DmdState, fixed: DmdFixed, batch: Conditions, i: Array
) -> tuple[DmdState, Metrics]:
    """One optimiser step of the fake score."""
    key = stage.setup.key("train", i)
    state, metrics, _ = stage.distillation.critic_step(state, fixed, batch, key)
    return state, metrics


def held_out_intra_losses(
    stage: IntraStage, state: DmdState, fixed: DmdFixed, batch: Conditions, number: Array
) -> Metrics:
    """Both losses, with draws that depend on the batch's number only."""
    key = stage.setup.key("held_out", number)
    metrics, _ = stage.distillation.losses(state, fixed, batch, key)
    return metrics


def sample_intra(
    stage: IntraStage, state: DmdState, fixed: DmdFixed, batch: Conditions
) -> Float[Array, "b f h w c"]:
    """The batch's shots by the student."""
    params = stage.distillation.student_params(state, fixed)
    return sample_student(stage.setup, params, batch, stage.setup.key("sample"))
