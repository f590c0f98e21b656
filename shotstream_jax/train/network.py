"""A network of a stage: where its weights come from, which of them move, and where they lie."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.core.typing import DType, Params, PRNGKey
from shotstream_jax.model import compute_params
from shotstream_jax.train.optim import OptimConfig, make_optimizer
from shotstream_jax.train.state import Trained, TrainState, init_state, state_shardings, update
from shotstream_jax.train.step import Loss, Metrics, batch_gradients


class Origin(NamedTuple):
    """Weights that a run begins with: a part ("dit", "vae", "text") of a checkpoint.

    checkpoint: "start" or "teacher", as the recipe names them.
    """

    checkpoint: str
    part: str


class Checkpoints(NamedTuple):
    """The checkpoints that a run begins with. teacher: of a distillation, otherwise None."""

    start: Checkpoint
    teacher: Checkpoint | None = None

    def of(self, origin: Origin) -> Checkpoint:
        """The one that an origin names."""
        if origin.checkpoint == "start":
            return self.start
        assert self.teacher is not None
        return self.teacher


Weights = dict[Origin, Params]  # the weights that a run has loaded


@dataclasses.dataclass(frozen=True)
class Network:
    """A network in training.

    steps: of the run, for a learning rate that decays. dtype: of its matmuls.
    """

    origin: Origin
    trained: Trained
    optim: OptimConfig
    steps: int
    dtype: DType

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """The optimiser of what moves."""
        return make_optimizer(self.optim, self.steps)

    @property
    def has_frozen(self) -> bool:
        """Whether some of its weights do not move, so that a resumed run must load them."""
        return self.trained.what != "all"

    def initial_state(self, weights: Weights, key: PRNGKey) -> TrainState:
        """The state before the first step. key: of a new adapter. Traceable."""
        # Parameters in training stay float32, whatever the matmuls compute in.
        moves = self.trained.moving(weights[self.origin], key)
        return init_state(self.trained, self.optimizer, moves)

    def frozen(self, weights: Weights) -> Params:
        """The parameters that do not move. Traceable."""
        if not self.has_frozen:
            return {}
        return self.trained.frozen(weights[self.origin])

    def params(self, moves: Params, frozen: Params) -> Params:
        """All its parameters, in the types that a pass computes with."""
        return compute_params(self.trained.join(moves, frozen), self.dtype)

    def averaged_params(self, state: TrainState, frozen: Params) -> Params:
        """The parameters to keep, float32: those of the average, if there is one."""
        # An average has less of the last steps' noise in it.
        moves = state.moves if state.ema is None else state.ema
        joined = self.trained.join(moves, frozen)
        return compute_params(joined, jnp.float32)

    def step(
        self, state: TrainState, rows: Any, loss: Loss, pieces: int
    ) -> tuple[TrainState, Metrics, Any]:
        """One optimiser step.

        Returns (new state, metrics with `loss` and `grad_norm`, what the loss gave for each row).
        """
        # Gradients by what moves only, then the optimiser's step.
        grads, metrics, out = batch_gradients(loss, state.moves, rows, pieces)
        state, norm = update(state, grads, self.optimizer, self.trained.ema)
        return state, metrics | {"grad_norm": norm}, out

    def state_shardings(self, mesh: Mesh, state: TrainState) -> TrainState:
        """Where the state lies, from its shapes."""
        # An adapter's matrices have rules of their own; all else lies like the weights of its part.
        rules = "lora" if self.trained.what == "lora" else self.origin.part
        return state_shardings(mesh, rules, state)

    def frozen_shardings(self, mesh: Mesh, frozen: Params) -> Params:
        """Where the frozen parameters lie, from their shapes."""
        return param_shardings(mesh, self.origin.part, frozen)
