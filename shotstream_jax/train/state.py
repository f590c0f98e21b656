"""A network in training: what moves, what stays, the optimiser's state, an average."""

import dataclasses
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.core.typing import Array, Params, PRNGKey
from shotstream_jax.dit.lora import LoraConfig, apply_lora, init_lora

TRAINS = ("all", "self_attention", "lora")


@dataclasses.dataclass(frozen=True)
class Trained:
    """Which parameters of a network move.

    what: "all", "self_attention" (q/k norms included) or "lora" (those of an adapter).
    ema: decay of an exponential moving average of them, 0 for none.
    """

    what: str = "all"
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
    ema: float = 0.0

    def __post_init__(self) -> None:
        if self.what not in TRAINS:
            raise InputError(
                f"trained.what {self.what!r} is not known; choose one of {', '.join(TRAINS)}"
            )
        if not 0 <= self.ema < 1:
            raise InputError(f"trained.ema {self.ema} must be from 0 (none) to below 1")

    def moving(self, params: Params, key: PRNGKey) -> Params:
        """The parameters that move. A new adapter is drawn from `key`."""
        if self.what == "lora":
            return init_lora(params, self.lora, key)
        moves, _ = self._split(params)
        return moves

    def frozen(self, params: Params) -> Params:
        """The parameters that do not move; `join` takes both."""
        if self.what == "lora":
            return params
        _, stays = self._split(params)
        return stays

    def join(self, moves: Params, stays: Params) -> Params:
        """The network's parameters from what moves and what stays."""
        if self.what == "lora":
            return apply_lora(stays, moves, self.lora)
        # By paths, so that what moves can be any of the leaves.
        flat = flax.traverse_util.flatten_dict(stays)
        flat.update(flax.traverse_util.flatten_dict(moves))
        return flax.traverse_util.unflatten_dict(flat)

    def _split(self, params: Params) -> tuple[Params, Params]:
        moves = {}
        stays = {}
        for path, leaf in flax.traverse_util.flatten_dict(params).items():
            if self.what == "all" or "self_attn" in path:
                moves[path] = leaf
            else:
                stays[path] = leaf
        unflatten = flax.traverse_util.unflatten_dict
        return unflatten(moves), unflatten(stays)


@flax.struct.dataclass
class TrainState:
    """What changes of one network in training.

    moves: the parameters that move, float32. optim: the optimiser's state. ema: the average of
    `moves`; None without.
    """

    moves: Params
    optim: Any
    ema: Params | None

    def __repr__(self) -> str:
        # Without the arrays, which are megabytes of text.
        count = len(jax.tree.leaves(self.moves))
        return f"TrainState({count} parameters in training, average: {self.ema is not None})"


def init_state(
    trained: Trained, optimizer: optax.GradientTransformation, moves: Params
) -> TrainState:
    """The state before the first step."""
    average = None
    if trained.ema:
        # A copy: a step donates the state, and one buffer cannot be donated twice.
        average = jax.tree.map(jnp.copy, moves)
    return TrainState(moves, optimizer.init(moves), average)


def update(
    state: TrainState, grads: Params, optimizer: optax.GradientTransformation, ema: float
) -> tuple[TrainState, Array]:
    """One optimiser step. Returns the new state, and the gradient's global norm before clipping."""
    # The optimiser clips the gradient and turns it into a change of the parameters.
    updates, optim = optimizer.update(grads, state.optim, state.moves)
    moves = optax.apply_updates(state.moves, updates)
    average = None
    if ema:
        average = jax.tree.map(lambda old, new: ema * old + (1 - ema) * new, state.ema, moves)
    return TrainState(moves, optim, average), optax.tree.norm(grads)


def state_shardings(mesh: Mesh, rules: str, abstract: TrainState) -> TrainState:
    """Where a state lies: a sharding for each of its arrays.

    Parameters lie by their rules; the optimiser's moments and the average like their parameters;
    counters are on every device.

    Args:
      mesh: the devices.
      rules: the name of the sharding rules (core/sharding.RULES).
      abstract: the state's shapes.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    # An optimiser's state has trees like the parameters' in it (moments), and single numbers.
    by_rule = param_shardings(mesh, rules, abstract.moves)
    params_structure: Any = jax.tree.structure(abstract.moves)

    def is_like_params(node: Any) -> bool:
        """Whether a part of the state has the tree of the parameters."""
        return jax.tree.structure(node) == params_structure

    def place(node: Any) -> Any:
        """The shardings of a part of the state."""
        return by_rule if is_like_params(node) else everywhere

    optim = jax.tree.map(place, abstract.optim, is_leaf=is_like_params)
    average = None if abstract.ema is None else by_rule
    return TrainState(by_rule, optim, average)
