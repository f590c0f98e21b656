"""What the loop asks of a stage.

The stages are autoencoder, teacher, ode_init, distill (intra-shot) and story_walk (inter-shot).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from shotstream_jax.aot.compile import Program
from shotstream_jax.core.typing import Array
from shotstream_jax.data.batches import DataConfig, Row, find_samples
from shotstream_jax.data.records import Dataset
from shotstream_jax.model import Params
from shotstream_jax.presets import Preset
from shotstream_jax.train.setup import Frozen, Networks, Setup, State
from shotstream_jax.train.step import Metrics
from shotstream_jax.world.shots import World

Data = Dataset | World


class Source(NamedTuple):
    """What batches are made of. fps: of its pictures. left_out: what could not be used, and how much of it."""

    train: Sequence[Any]
    held_out: Sequence[Any]
    fps: int
    left_out: Mapping[str, int]


class Stage(Protocol):
    """Steps count from 0; step i belongs to global batch batch_index(i).

    results: the networks that the stage is for, at most one of a part; WORKDIR/model is made of them.

    rows: a global batch of what `load` gives. frozen has the networks' own frozen parameters and `extras`.
    """

    setup: Setup
    networks: Networks
    results: tuple[str, ...]

    def source(self, dataset: Data) -> Source:
        """Raises InputError if there is nothing to train on."""

    def load(self, dataset: Data, item: Any) -> Row:
        """One row of a batch."""

    def extras(self) -> State:
        """What the state has beside the networks, as abstract arrays with shardings; a run starts with zeros."""

    def needs(self) -> tuple[str, ...]:
        """What `frozen` must have beside the networks: "negative" (the prompt's embedding [1, l, e]), "negative_ids"
        (its tokens [1, l]), "vae"."""

    def batch_index(self, step: int) -> int: ...

    def step(
        self, i: int, state: State, frozen: Frozen, rows: dict[str, Array]
    ) -> tuple[State, Metrics]: ...

    def held_out(
        self, state: State, frozen: Frozen, rows: dict[str, Array], number: int
    ) -> Metrics:
        """Losses on a batch that is never trained on; the same draws every time."""

    def sample(self, state: State, frozen: Frozen, rows: dict[str, Array]) -> list[Array]:
        """Shots to look at, made by the network in training, uint8 [b, p, y, x, 3] each; always the same draws."""

    def sizes(self, trained: Params, batches: Iterator[dict[str, Array]]) -> Preset:
        """The model's sizes for WORKDIR/model. trained: its new parts; batches: to train on, from the first one."""

    def flops(self, i: int) -> float:
        """Of the model in step i, all stories, counted by formula."""

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        """Everything that a training step runs, with abstract arguments (train/run/start has state and frozen)."""


def shots_source(dataset: Dataset, cfg: DataConfig) -> Source:
    """Target shots, for the stages that train on real ones."""
    found = find_samples(dataset, cfg)
    return clips_source(dataset, found.train, found.held_out, found.skipped)


def clips_source(
    dataset: Dataset, train: Sequence[Any], held_out: Sequence[Any], skipped: int
) -> Source:
    """Any items of encoded clips."""
    left_out = {"too short for the recipe": skipped, "broken clips": len(dataset.broken)}
    return Source(train, held_out, dataset.settings.fps, left_out)
