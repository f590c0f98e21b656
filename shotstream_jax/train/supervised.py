"""The steps of a stage that trains its networks, mostly one, on one loss: common to stages 1 and 2."""

import functools
from typing import Any

import jax
import numpy as np

from shotstream_jax.core.typing import Array, PRNGKey
from shotstream_jax.model import Params
from shotstream_jax.train.base import BaseStage
from shotstream_jax.train.recipe import Recipe
from shotstream_jax.train.setup import Frozen, Network, Networks, Origin, Setup, State, jit_step
from shotstream_jax.train.state import update
from shotstream_jax.train.step import Metrics, gradients


class Supervised(BaseStage):
    """A stage says what its batch and draws are, and their loss; `result` names its network, `part` what that is.

    Networks that a stage adds to `networks` are trained with it, on the same loss; each has a clip of its own.
    """

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
        """params: as `params` gives them."""
        raise NotImplementedError

    @property
    def results(self) -> tuple[str, ...]:
        return tuple(self.networks.moving)

    def params(self, state: State, frozen: Frozen) -> Params:
        """All that the loss computes with."""
        return self.network.params(state[self.result], frozen[self.result], self.setup.dtype)

    def extras(self) -> State:
        return {}

    def batch_index(self, step: int) -> int:
        return step

    def step(
        self, i: int, state: State, frozen: Frozen, rows: dict[str, Array]
    ) -> tuple[State, Metrics]:
        return self._train(state, frozen, rows, np.int32(i))

    @functools.cached_property
    def _train(self) -> Any:
        def train(
            state: State, frozen: Frozen, rows: dict[str, Array], i: Array
        ) -> tuple[State, Metrics]:
            def loss(moves: dict[str, Params], rows: Any) -> Any:
                moved = {name: state[name].replace(moves=moves[name]) for name in moves}
                return self.loss(self.params(state | moved, frozen), *rows), ({}, None)

            moves = {name: state[name].moves for name in self.networks.moving}
            drawn = self.draw(self.setup.key("train", i), rows)
            grads, metrics, _ = gradients(loss, moves, drawn, self.recipe.run.accumulate)
            new = {}
            for name, network in self.networks.moving.items():
                new[name], norm = update(
                    state[name], grads[name], network.optimizer, network.trained.ema
                )
                metrics |= {"grad_norm" if name == self.result else f"{name}/grad_norm": norm}
            return state | new, metrics

        return jit_step(train, self.networks.abstract(self.setup)[0], outputs=1)

    def held_out(
        self, state: State, frozen: Frozen, rows: dict[str, Array], number: int
    ) -> Metrics:
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
