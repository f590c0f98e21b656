"""What the loop asks of a stage. The stages are teacher, ode_init, distill (intra-shot) and story_walk (inter-shot)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from shotstream_jax.core.aot import Program
from shotstream_jax.core.typing import Array
from shotstream_jax.data.pipeline import DataConfig, Row, find_samples
from shotstream_jax.data.records import Dataset
from shotstream_jax.train.setup import Frozen, Networks, Setup, State
from shotstream_jax.train.step import Metrics


class Source(NamedTuple):
    """What batches are made of. skipped: how many could not be used."""

    train: Sequence[Any]
    held_out: Sequence[Any]
    skipped: int


class Stage(Protocol):
    """Steps count from 0; step i belongs to global batch batch_index(i). result: the network that the stage is for.

    rows: a global batch of what `load` gives. frozen has the networks' own frozen parameters and `extras`.
    """

    setup: Setup
    networks: Networks
    result: str

    def source(self, dataset: Dataset) -> Source:
        """Raises InputError if there is nothing to train on."""

    def load(self, dataset: Dataset, item: Any) -> Row:
        """One row of a batch."""

    def extras(self) -> State:
        """What the state has beside the networks, as abstract arrays with shardings; a run starts with zeros."""

    def needs(self) -> tuple[str, ...]:
        """What `frozen` must have beside the networks: "negative" (the prompt's embedding [1, l, e]), "vae"."""

    def batch_index(self, step: int) -> int: ...

    def step(self, i: int, state: State, frozen: Frozen, rows: dict[str, Array]) -> tuple[State, Metrics]: ...

    def held_out(self, state: State, frozen: Frozen, rows: dict[str, Array], number: int) -> Metrics:
        """Losses on a batch that is never trained on; the same draws every time."""

    def sample(self, state: State, frozen: Frozen, rows: dict[str, Array]) -> list[Array]:
        """Shots made by the network in training, latents [b, f, h, w, c] each; the same draws every time."""

    def flops(self, i: int) -> float:
        """Of the model in step i, all stories, counted by formula."""

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        """Everything that a training step runs, with abstract arguments (train/begin has state and frozen)."""


def shots_source(dataset: Dataset, cfg: DataConfig) -> Source:
    """Target shots, for the stages that train on real ones."""
    return Source(*find_samples(dataset, cfg))
