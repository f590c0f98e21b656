"""Representation alignment with the truth: what an inner layer should know of every latent cell.

After arXiv 2410.06940, with the labels of a drawn film in place of another network's features. A
head (dit/truth) reads the tokens of [context, noisy shot] after one layer, and

    loss = mean over maps, over {context, target} and over {cells with something, cells without} of
           the mean cross-entropy of those cells                                                (1)

so a hat's few cells count as much as all the others. A frame that is not there (no context before a
first shot, or a dropped one) has no cells. The means are those of the whole batch: each cell is
given its weight before the batch is dealt into micro-batches.
"""

import dataclasses
from collections.abc import Sequence

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Bool, Float, Int, typechecked
from shotstream_jax.core.values import whole_number
from shotstream_jax.data.rows import UNKNOWN
from shotstream_jax.train.step import Metrics


@dataclasses.dataclass(frozen=True)
class TruthConfig:
    """How much the truth counts beside flow matching, and which layer is asked.

    weight: of eq. (1) in the loss; 0: no head, and labels are not needed.
    layer: number of the layer after which the head reads, from 1.
    """

    weight: float = 0.0
    layer: int = 1

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise InputError(f"truth.weight {self.weight} must not be negative; 0 leaves it out")
        object.__setattr__(self, "layer", whole_number(self.layer, "truth.layer"))
        if self.layer < 1:
            raise InputError(f"truth.layer {self.layer} must be at least 1, the first layer")


@flax.struct.dataclass
class TruthTargets:
    """What a batch should be said to show; the maps are the last dimension.

    labels: a class of each cell, 0: nothing.
    weight: of each cell's cross-entropy in a map, so that the mean over stories of the sums over
      cells is eq. (1); 0 where a frame is not there.
    seen: the same of each cell with something in the accuracy of its part.
    """

    labels: Int[Array, "b frames h w maps"]
    weight: Float[Array, "b frames h w maps"]
    seen: Float[Array, "b frames h w maps"]


@typechecked
def truth_targets(
    labels: Int[Array, "b frames h w maps"], dropped: Bool[Array, "b"], context: int
) -> TruthTargets:
    """Labels with their weights.

    dropped: stories that are trained on without their context. context: the first frames, C.
    """
    # 1. A context that the network does not see is not there.
    frames = jnp.arange(labels.shape[1]).reshape(1, -1, 1, 1, 1)
    in_context = frames < context
    is_gone = dropped.reshape(-1, 1, 1, 1, 1) & in_context
    labels = jnp.where(is_gone, UNKNOWN, labels)

    # 2. Four kinds of cells in each map, with a weight of 1/4 together.
    stories = labels.shape[0]
    weight = jnp.zeros(labels.shape)
    seen = jnp.zeros(labels.shape)
    for is_in_part in (in_context, ~in_context):
        for has_something in (True, False):
            is_kind = labels > 0 if has_something else labels == 0
            cells = is_in_part & is_kind
            count = jnp.sum(cells, axis=(0, 1, 2, 3), keepdims=True)  # [1, 1, 1, 1, maps]
            share = cells * (stories / jnp.maximum(count, 1))
            weight += share / 4
            if has_something:
                seen += share
    return TruthTargets(labels, weight, seen)


def truth_loss(
    logits: Sequence[Float[Array, "b frames h w _"]],
    targets: TruthTargets,
    names: Sequence[str],
    context: int,
) -> tuple[Float[Array, ""], Metrics]:
    """Eq. (1), and each map's cross-entropy and accuracy in the context and in the target.

    The accuracy is that on cells with something. Without any such cells both are 0.

    Args:
      logits: of the classes of each map.
      targets: from `truth_targets`.
      names: of the maps.
      context: the first frames, C.
    """
    losses = []
    metrics: Metrics = {}
    for number, name in enumerate(names):
        # A cell's cross-entropy, and whether its likeliest class is the right one.
        labels = jnp.maximum(targets.labels[..., number], 0)
        log_likely = jax.nn.log_softmax(logits[number])
        entropy = -jnp.take_along_axis(log_likely, labels[..., None], axis=-1)[..., 0]
        is_right = jnp.argmax(logits[number], axis=-1) == labels  # [b, frames, h, w]

        weighed = entropy * targets.weight[..., number]
        rightly = is_right * targets.seen[..., number]
        losses.append(_mean_of_sums(weighed))
        for part, frames in (("context", slice(0, context)), ("target", slice(context, None))):
            # A part is half of the loss.
            metrics[f"truth/{part}/{name}/cross_entropy"] = 2 * _mean_of_sums(weighed[:, frames])
            metrics[f"truth/{part}/{name}/accuracy"] = _mean_of_sums(rightly[:, frames])
    loss = jnp.mean(jnp.stack(losses))
    return loss, metrics | {"truth/loss": loss}


def _mean_of_sums(cells: Float[Array, "b frames h w"]) -> Float[Array, ""]:
    """The mean over stories of the sums over their cells."""
    return jnp.mean(jnp.sum(cells, axis=(1, 2, 3)))
