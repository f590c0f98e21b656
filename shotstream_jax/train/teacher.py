"""Stage 1 as the loop runs it: the losses are in flow_matching."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from shotstream_jax.core.aot import Program
from shotstream_jax.core.typing import Array, PRNGKey
from shotstream_jax.data.batch import Batch
from shotstream_jax.data.pipeline import Row, target_row
from shotstream_jax.data.records import Dataset
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.model import Params
from shotstream_jax.train import flops
from shotstream_jax.train.flow_matching import Draws, draw, flow_loss, shot_velocity
from shotstream_jax.train.recipe import TeacherRecipe
from shotstream_jax.train.setup import Frozen, State, abstract_rows, batch_of
from shotstream_jax.train.stage import Source, shots_source
from shotstream_jax.train.step import normal_rows
from shotstream_jax.train.supervised import Supervised


class TeacherStage(Supervised):
    result = "teacher"
    recipe: TeacherRecipe

    def source(self, dataset: Dataset) -> Source:
        return shots_source(dataset, self.recipe.data)

    def load(self, dataset: Dataset, item: Any) -> Row:
        return target_row(dataset, item, self.recipe.data, self.setup.preset.dit.text_len)

    def needs(self) -> tuple[str, ...]:
        return ("negative",)

    def draw(self, key: PRNGKey, rows: dict[str, Array]) -> tuple[Batch, Draws]:
        batch = batch_of(rows)
        return batch, draw(key, batch, self.setup.schedule, self.recipe.dropout)

    def loss(self, params: Params, batch: Batch, draws: Draws) -> Array:
        return flow_loss(self.setup.teacher, self.setup.schedule, params, batch, draws)

    @functools.cached_property
    def _sample(self) -> Any:
        setup = self.setup
        schedule = Schedule(self.recipe.sampler_steps, setup.schedule.shift)

        @jax.jit
        def make(state: State, frozen: Frozen, rows: dict[str, Array]) -> Array:
            batch = batch_of(rows)
            velocity = functools.partial(shot_velocity, setup.teacher, self.params(state, frozen))
            branches = (batch.conditions, batch.conditions.under_one_prompt(frozen["negative"]))
            noise = normal_rows(setup.key("sample"), batch.target.shape)
            return sample(*(functools.partial(velocity, c) for c in branches), noise, schedule, self.recipe.guidance)[0]

        return make

    def flops(self, i: int) -> float:
        setup, cfg = self.setup, self.setup.preset.dit
        tokens, slots = int(np.prod(cfg.grid(*setup.grid))), self._slots
        forward = flops.teacher_pass(cfg, setup.preset.memory, setup.frames, tokens, slots)
        total = (setup.preset.memory.context + setup.frames) * tokens
        return setup.run.batch * (forward + flops.backward(cfg, total, forward, self.recipe.trained.what))

    @property
    def _slots(self) -> int:
        return 1 if self.recipe.data.captions == "target" else self.setup.preset.memory.captions

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        rows = abstract_rows(self.setup, self._slots)
        yield Program("step", self._train, (state, frozen, rows, np.int32(0)), self.flops(0))
