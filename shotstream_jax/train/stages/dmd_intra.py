"""Stage 3 as the loop runs it: distribution matching within a shot, on the true earlier shots."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.core.typing import Array
from shotstream_jax.data.batches import Row, embeddings, target_row
from shotstream_jax.data.records import Dataset
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.train import flops
from shotstream_jax.train.base import BaseStage
from shotstream_jax.train.generation import make_shot
from shotstream_jax.train.losses import dmd
from shotstream_jax.train.recipe import DmdRecipe
from shotstream_jax.train.setup import (
    Frozen,
    Network,
    Networks,
    Origin,
    Setup,
    State,
    abstract_rows,
    conditions_of,
    jit_step,
)
from shotstream_jax.train.stage import Source, shots_source
from shotstream_jax.train.step import Metrics


class Distillation(BaseStage):
    """The two steps of distribution matching, and the networks that they move: common to stages 3 and 4."""

    def __init__(self, recipe: DmdRecipe, setup: Setup):
        super().__init__(recipe, setup)
        self.networks = Networks(
            {
                "student": Network(recipe.trained, recipe.optim, Origin("start", "dit")),
                "fake": Network(recipe.fake, recipe.critic, Origin("teacher", "dit")),
            },
            {"real": Origin("teacher", "dit")},
        )
        self.modules = dmd.Networks(
            setup.student, setup.teacher, setup.steps, setup.schedule, recipe.distillation
        )

    def params(self, name: str, state: State, frozen: Frozen) -> Any:
        return self.networks.moving[name].params(state[name], frozen[name], self.setup.dtype)

    def generator(
        self, state: State, frozen: Frozen, conditions: Conditions, key: Array
    ) -> tuple[State, Metrics, Any]:
        """One step of the student. Returns the rollout too."""
        draws, last = dmd.draw(key, self.modules, self.setup.target, self.recipe.dropout)
        fake = self.params("fake", state, frozen)

        def loss(moves: Any, rows: Any) -> Any:
            student = self.params(
                "student", state | {"student": state["student"].replace(moves=moves)}, frozen
            )
            scores = (fake, frozen["real"])
            value, (metrics, made) = dmd.generator_loss(
                self.modules, student, *scores, rows[0], frozen["negative"], rows[1], last
            )
            return value, (metrics, made.x_0)

        return self._update("student", "generator", state, (conditions, draws), loss)

    def critic(
        self, state: State, frozen: Frozen, conditions: Conditions, key: Array
    ) -> tuple[State, Metrics, Any]:
        """One step of the fake score, on a rollout of the student."""
        draws, last = dmd.draw(key, self.modules, self.setup.target, self.recipe.dropout)
        student = self.params("student", state, frozen)

        def loss(moves: Any, rows: Any) -> Any:
            fake = self.params("fake", state | {"fake": state["fake"].replace(moves=moves)}, frozen)
            value, made = dmd.critic_loss(self.modules, student, fake, *rows, last)
            return value, ({}, made.x_0)

        return self._update("fake", "critic", state, (conditions, draws), loss)

    def _update(
        self, network: str, prefix: str, state: State, rows: Any, loss: Any
    ) -> tuple[State, Metrics, Any]:
        pieces = self.recipe.run.accumulate
        new, metrics, made = self.networks.moving[network].step(state[network], rows, loss, pieces)
        return (
            state | {network: new},
            {f"{prefix}/{name}": value for name, value in metrics.items()},
            made,
        )

    def losses(
        self, state: State, frozen: Frozen, conditions: Conditions, key: Array
    ) -> tuple[Metrics, Array]:
        """Both losses without a step, and the rollout's sample."""
        draws, last = dmd.draw(key, self.modules, self.setup.target, self.recipe.dropout)
        student, fake = self.params("student", state, frozen), self.params("fake", state, frozen)
        generator, (_, made) = dmd.generator_loss(
            self.modules, student, fake, frozen["real"], conditions, frozen["negative"], draws, last
        )
        critic, _ = dmd.critic_loss(self.modules, student, fake, conditions, draws, last)
        return {"generator/loss": generator, "critic/loss": critic}, made.x_0

    def flops(self, i: int) -> float:
        return self.cost(self.recipe.distillation.trains_generator(i))

    def cost(self, generator: bool) -> float:
        """FLOPs of a generator's or a critic's step."""
        setup, cfg, memory = self.setup, self.setup.preset.dit, self.setup.preset.memory
        tokens = int(np.prod(cfg.grid(*setup.grid)))
        made = flops.rollout(cfg, memory, setup.frames, tokens, len(setup.steps.nominal))
        score = flops.teacher_pass(cfg, memory, setup.frames, tokens, memory.captions)
        if generator:
            text = memory.captions * cfg.layers * cfg.text_len * 4 * cfg.dim**2
            replay = flops.chunk_passes(cfg, memory, setup.frames, tokens) + text
            return setup.run.batch * (made + 3 * score + 3 * replay)
        return setup.run.batch * (made + 3 * score)


class IntraStage(Distillation):
    results = ("student",)

    def source(self, dataset: Dataset) -> Source:
        return shots_source(dataset, self.recipe.data)

    def load(self, dataset: Dataset, item: Any) -> Row:
        """The target itself is not used: the student makes its own."""
        row = target_row(
            dataset, item, self.recipe.data, embeddings(self.setup.preset.dit.text_len)
        )
        return {name: array for name, array in row.items() if name != "target"}

    def extras(self) -> State:
        return {}

    def needs(self) -> tuple[str, ...]:
        return ("negative",)

    def batch_index(self, step: int) -> int:
        return step

    def step(
        self, i: int, state: State, frozen: Frozen, rows: dict[str, Array]
    ) -> tuple[State, Metrics]:
        run = self._generator if self.recipe.distillation.trains_generator(i) else self._critic
        return run(state, frozen, rows, np.int32(i))

    @functools.cached_property
    def _generator(self) -> Any:
        return self._jitted(self.generator)

    @functools.cached_property
    def _critic(self) -> Any:
        return self._jitted(self.critic)

    def _jitted(self, step: Any) -> Any:
        def train(
            state: State, frozen: Frozen, rows: dict[str, Array], i: Array
        ) -> tuple[State, Metrics]:
            return step(state, frozen, conditions_of(rows), self.setup.key("train", i))[:2]

        return jit_step(train, self.networks.abstract(self.setup)[0], outputs=1)

    def held_out(
        self, state: State, frozen: Frozen, rows: dict[str, Array], number: int
    ) -> Metrics:
        return self._losses(state, frozen, rows, np.int32(number))

    @functools.cached_property
    def _losses(self) -> Any:
        @jax.jit
        def losses(state: State, frozen: Frozen, rows: dict[str, Array], number: Array) -> Metrics:
            return self.losses(
                state, frozen, conditions_of(rows), self.setup.key("held_out", number)
            )[0]

        return losses

    def sample(self, state: State, frozen: Frozen, rows: dict[str, Array]) -> list[Array]:
        return [self.show(self._sample(state, frozen, rows))]

    @functools.cached_property
    def _sample(self) -> Any:
        @jax.jit
        def make(state: State, frozen: Frozen, rows: dict[str, Array]) -> Array:
            student = self.params("student", state, frozen)
            return make_shot(self.setup, student, conditions_of(rows), self.setup.key("sample"))

        return make

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        rows = abstract_rows(self.setup, self.setup.preset.memory.captions, target=False)
        arguments = (state, frozen, rows, np.int32(0))
        yield Program("generator", self._generator, arguments, self.cost(generator=True))
        yield Program("critic", self._critic, arguments, self.cost(generator=False))
