"""The part of stage 1 that says what there is to see (train/losses/truth); in training only."""

import dataclasses

import jax.numpy as jnp

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Params
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.dit.truth import TruthHead
from shotstream_jax.nn.apply import apply
from shotstream_jax.train.losses.truth import TruthConfig, TruthTargets, truth_loss
from shotstream_jax.train.network import Network, Origin
from shotstream_jax.train.optim import OptimConfig
from shotstream_jax.train.setup import Setup
from shotstream_jax.train.state import Trained, TrainState
from shotstream_jax.train.step import Metrics
from shotstream_jax.world.class_maps import CLASSES, MAPS

# Of no checkpoint: a run begins with a fresh head.
HEAD = Origin("none", "truth")


@dataclasses.dataclass(frozen=True)
class TruthPart:
    """The head, its optimiser and its loss.

    cfg: of the recipe. optim: the transformer's.
    """

    cfg: TruthConfig
    optim: OptimConfig
    setup: Setup

    @property
    def head(self) -> TruthHead:
        """The module."""
        dit = self.setup.preset.dit
        return TruthHead(CLASSES, dit.patch, dit.eps, self.setup.dtype)

    @property
    def network(self) -> Network:
        """The head in training: all of it, without an average."""
        return self.setup.network(HEAD, Trained(), self.optim)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of a frame's tokens."""
        return self.setup.preset.dit.grid(*self.setup.grid)

    def initial_state(self) -> TrainState:
        """A fresh head. Traceable."""
        key = self.setup.key("truth")
        tokens = jnp.zeros((1, 1, self.setup.frame_tokens, self.setup.preset.dit.dim))
        params = self.head.init(key, tokens, self.token_grid)["params"]
        return self.network.initial_state({HEAD: params}, key)

    def loss(
        self, params: Params, tokens: Float[Array, "b frames t d"], targets: TruthTargets
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss without its weight, and what the log says of it.

        tokens: of [context, noisy shot], after the layer that is asked.
        """
        logits = apply(self.head, params, tokens, self.token_grid)
        return truth_loss(logits, targets, MAPS, self.setup.preset.memory.context)

    def check(self, data: Dataset, path: str) -> None:
        """Raises InputError if a data set has no labels, or others than the drawn world's."""
        # The first record stands for all: a table has labels for every clip or for none.
        labels = data.record(0).labels
        if not labels:
            raise InputError(
                f"truth.weight {self.cfg.weight}: {path} has no labels; precompute a table with a "
                "column labels_path, or set truth.weight=0"
            )
        most = [int(labels[0][..., number].max()) for number in range(labels[0].shape[-1])]
        if len(most) != len(CLASSES) or any(a >= b for a, b in zip(most, CLASSES, strict=True)):
            raise InputError(
                f"truth.weight {self.cfg.weight}: the labels of {path} go up to {most}, the drawn "
                f"world has {list(CLASSES)} classes: make them by shotstream world"
            )


def check_truth_layer(cfg: TruthConfig, layers: int) -> None:
    """Raises InputError for a layer that the model does not have."""
    if cfg.weight > 0 and cfg.layer > layers:
        raise InputError(f"truth.layer {cfg.layer}: the model has {layers} layers")
