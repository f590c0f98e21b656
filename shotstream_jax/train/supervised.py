"""The steps of a stage that trains one network on one loss of real shots: common to stages 1 and 2."""

import functools
from typing import Any

import jax
import numpy as np

from shotstream_jax.core.typing import Array, PRNGKey
from shotstream_jax.model import Params
from shotstream_jax.train.base import BaseStage
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.setup import Frozen, Network, Networks, Origin, Setup, State, jit_step
from shotstream_jax.train.step import Metrics


class Supervised(BaseStage):
    """A stage says what its batch and draws are, and their loss; `result` names its network, `part` what that is."""

    result: str
    part: str = "dit"

    def __init__(self, recipe: Recipe, setup: Setup):
        super().__init__(recipe, setup)
        self.network = Network(recipe.trained, recipe.optim, Origin("start", self.part))
        self.networks = Networks({self.result: self.network})

    def draw(self, key: PRNGKey, rows: dict[str, Array]) -> tuple[Any, Any]:
        """The batch and its draws: pytrees with the batch as their first dimension."""
        raise NotImplementedError

    def loss(self, params: Params, batch: Any, draws: Any) -> Array:
        raise NotImplementedError

    @property
    def results(self) -> tuple[str, ...]:
        return (self.result,)

    def params(self, state: State, frozen: Frozen) -> Params:
        return self.network.params(state[self.result], frozen[self.result], self.setup.dtype)

    def extras(self) -> State:
        return {}

    def batch_index(self, step: int) -> int:
        return step

    def step(self, i: int, state: State, frozen: Frozen, rows: dict[str, Array]) -> tuple[State, Metrics]:
        return self._train(state, frozen, rows, np.int32(i))

    @functools.cached_property
    def _train(self) -> Any:
        def train(state: State, frozen: Frozen, rows: dict[str, Array], i: Array) -> tuple[State, Metrics]:
            def loss(moves: Any, rows: Any) -> Any:
                moved = state | {self.result: state[self.result].replace(moves=moves)}
                return self.loss(self.params(moved, frozen), *rows), ({}, None)

            drawn, pieces = self.draw(self.setup.key("train", i), rows), self.recipe.run.accumulate
            new, metrics, _ = self.network.step(state[self.result], drawn, loss, pieces)
            return state | {self.result: new}, metrics

        return jit_step(train, self.networks.abstract(self.setup)[0], outputs=1)

    def held_out(self, state: State, frozen: Frozen, rows: dict[str, Array], number: int) -> Metrics:
        return self._loss(state, frozen, rows, np.int32(number))

    @functools.cached_property
    def _loss(self) -> Any:
        @jax.jit
        def loss(state: State, frozen: Frozen, rows: dict[str, Array], number: Array) -> Metrics:
            drawn = self.draw(self.setup.key("held_out", number), rows)
            return {"loss": self.loss(self.params(state, frozen), *drawn)}

        return loss

    def sample(self, state: State, frozen: Frozen, rows: dict[str, Array]) -> list[Array]:
        return [self.show(self._sample(state, frozen, rows))]
