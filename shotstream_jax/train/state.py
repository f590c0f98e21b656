"""What a network in training is: the parameters that move, those that do not, the optimiser's state, an average."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings
from shotstream_jax.core.typing import Array
from shotstream_jax.dit.lora import LoraConfig, apply_lora, init_lora
from shotstream_jax.model import Params

TRAINS = ("all", "self_attention", "lora")


@dataclasses.dataclass(frozen=True)
class Trained:
    """Which parameters of a network move: all, the self-attention's (q/k norms included), or an adapter's.

    ema: decay of an average of them, 0 for none.
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

    def split(self, params: Params, key: jax.Array) -> tuple[Params, Params]:
        """(what moves, what stays), inverse to `join`. A new adapter is drawn from `key`."""
        if self.what == "lora":
            return init_lora(params, self.lora, key), params
        flat = flax.traverse_util.flatten_dict(params)
        moves = {
            path: leaf for path, leaf in flat.items() if self.what == "all" or "self_attn" in path
        }
        stays = {path: leaf for path, leaf in flat.items() if path not in moves}
        return flax.traverse_util.unflatten_dict(moves), flax.traverse_util.unflatten_dict(stays)

    def join(self, moves: Params, stays: Params) -> Params:
        """The network's parameters."""
        if self.what == "lora":
            return apply_lora(stays, moves, self.lora)
        flat = flax.traverse_util.flatten_dict(moves) | flax.traverse_util.flatten_dict(stays)
        return flax.traverse_util.unflatten_dict(flat)


@flax.struct.dataclass
class TrainState:
    """One network's: moves [float32], the optimiser's state, and the average of `moves` (None without)."""

    moves: Params
    optim: Any
    ema: Params | None


def init_state(
    trained: Trained, optimizer: optax.GradientTransformation, moves: Params
) -> TrainState:
    # A copy: a step donates the state, and one buffer cannot be given away twice.
    return TrainState(
        moves, optimizer.init(moves), jax.tree.map(jnp.copy, moves) if trained.ema else None
    )


def update(
    state: TrainState, grads: Params, optimizer: optax.GradientTransformation, ema: float
) -> tuple[TrainState, Array]:
    """One optimiser step; and the gradient's global norm before clipping."""
    updates, optim = optimizer.update(grads, state.optim, state.moves)
    moves = optax.apply_updates(state.moves, updates)
    average = jax.tree.map(lambda a, b: ema * a + (1 - ema) * b, state.ema, moves) if ema else None
    return TrainState(moves, optim, average), optax.tree.norm(grads)


def state_shardings(mesh: Mesh, rules: str, abstract: TrainState) -> TrainState:
    """Every parameter by its rule; the optimiser's moments and the average as their parameters; counters everywhere."""
    whole = NamedSharding(mesh, PartitionSpec())
    by_rule = param_shardings(mesh, rules, abstract.moves)
    treedef = jax.tree.structure(abstract.moves)
    like_params = lambda x: jax.tree.structure(x) == treedef  # noqa: E731
    place: Callable[[Any], Any] = lambda x: by_rule if like_params(x) else whole  # noqa: E731
    optim = jax.tree.map(place, abstract.optim, is_leaf=like_params)
    return TrainState(by_rule, optim, by_rule if abstract.ema is not None else None)
