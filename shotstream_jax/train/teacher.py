"""Stage 1 as the loop runs it: the losses are in flow_matching."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from shotstream_jax.core.typing import Array
from shotstream_jax.data.pipeline import Row, target_row
from shotstream_jax.data.records import Dataset
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.train import flops
from shotstream_jax.train.flow_matching import draw, flow_loss, shot_velocity
from shotstream_jax.train.recipe import TeacherRecipe
from shotstream_jax.train.setup import Frozen, Network, Networks, Setup, State, abstract_rows, batch_of, jit_step
from shotstream_jax.train.stage import Program, Source, shots_source
from shotstream_jax.train.step import Metrics, normal_rows


class TeacherStage:
    result = "teacher"

    def __init__(self, recipe: TeacherRecipe, setup: Setup):
        self.recipe, self.setup = recipe, setup
        self.networks = Networks({"teacher": Network(recipe.trained, recipe.optim, "start")}, {})

    def source(self, dataset: Dataset) -> Source:
        return shots_source(dataset, self.recipe.data)

    def load(self, dataset: Dataset, item: Any) -> Row:
        return target_row(dataset, item, self.recipe.data, self.setup.preset.dit.text_len)

    def extras(self) -> State:
        return {}

    def needs(self) -> tuple[str, ...]:
        return ("negative",)

    def batch_index(self, step: int) -> int:
        return step

    def step(self, i: int, state: State, frozen: Frozen, rows: dict[str, Array]) -> tuple[State, Metrics]:
        return self._train(state, frozen, rows, np.int32(i))

    @functools.cached_property
    def _train(self) -> Any:
        setup, network, recipe = self.setup, self.networks.moving["teacher"], self.recipe

        def train(state: State, frozen: Frozen, rows: dict[str, Array], i: Array) -> tuple[State, Metrics]:
            batch = batch_of(rows)
            draws = draw(setup.key("train", i), batch, setup.schedule, recipe.dropout)

            def loss(moves: Any, rows: Any) -> Any:
                params = network.params(state["teacher"].replace(moves=moves), frozen["teacher"], setup.dtype)
                return flow_loss(setup.teacher, setup.schedule, params, *rows), ({}, None)

            new, metrics, _ = network.step(state["teacher"], (batch, draws), loss, recipe.run.accumulate)
            return state | {"teacher": new}, metrics

        return jit_step(train, self.networks.abstract(setup)[0], outputs=1)

    def held_out(self, state: State, frozen: Frozen, rows: dict[str, Array], number: int) -> Metrics:
        return self._loss(state, frozen, rows, np.int32(number))

    @functools.cached_property
    def _loss(self) -> Any:
        setup, network = self.setup, self.networks.moving["teacher"]

        @jax.jit
        def loss(state: State, frozen: Frozen, rows: dict[str, Array], number: Array) -> Metrics:
            batch = batch_of(rows)
            draws = draw(setup.key("held_out", number), batch, setup.schedule, self.recipe.dropout)
            params = network.params(state["teacher"], frozen["teacher"], setup.dtype)
            return {"loss": flow_loss(setup.teacher, setup.schedule, params, batch, draws)}

        return loss

    def sample(self, state: State, frozen: Frozen, rows: dict[str, Array]) -> list[Array]:
        return [self._sample(state, frozen, rows)]

    @functools.cached_property
    def _sample(self) -> Any:
        setup, network = self.setup, self.networks.moving["teacher"]
        schedule = Schedule(self.recipe.sampler_steps, setup.schedule.shift)

        @jax.jit
        def make(state: State, frozen: Frozen, rows: dict[str, Array]) -> Array:
            batch = batch_of(rows)
            params = network.params(state["teacher"], frozen["teacher"], setup.dtype)
            velocity = functools.partial(shot_velocity, setup.teacher, params)
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
