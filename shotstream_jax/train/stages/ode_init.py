"""Stage 2 as the loop runs it: the loss is in ode_regression, the pairs are made by ode_pairs."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.core.sharding import batch_sharding
from shotstream_jax.core.typing import Array, PRNGKey
from shotstream_jax.data.batches import Row, condition_row, embeddings, held_out_clips
from shotstream_jax.data.pairs import open_pairs
from shotstream_jax.data.records import Dataset
from shotstream_jax.model import Params
from shotstream_jax.train import flops
from shotstream_jax.train.generation import make_shot
from shotstream_jax.train.losses.ode_regression import Draws, PairBatch, draw, regression_loss
from shotstream_jax.train.recipe import OdeRecipe
from shotstream_jax.train.setup import Frozen, State, abstract_rows, conditions_of
from shotstream_jax.train.stage import Source, clips_source
from shotstream_jax.train.supervised import Supervised


class OdeInitStage(Supervised):
    result = "student"
    recipe: OdeRecipe

    def source(self, dataset: Dataset) -> Source:
        """Items are the numbers of the pairs."""
        self._pairs = open_pairs(self.recipe.pairs.path, dataset, self._kept)
        held = held_out_clips(dataset, self.recipe.data.held_out)
        parts: dict[bool, list[int]] = {False: [], True: []}
        for i, (clip, _) in enumerate(self._pairs.samples):
            parts[int(clip) in held].append(i)
        return clips_source(dataset, parts[False], parts[True], 0)

    def load(self, dataset: Dataset, item: int) -> Row:
        clip, shot = self._pairs.samples[item]
        texts = embeddings(self.setup.preset.dit.text_len)
        conditions = condition_row(
            dataset.record(int(clip)), int(shot), dataset.settings.context, texts
        )
        return {"trajectory": self._pairs.read(item)} | conditions

    @property
    def _kept(self) -> tuple[int, ...]:
        """A trajectory's shape."""
        return (len(self.setup.steps.nominal) + 1, self.setup.frames, *self.setup.latent)

    def needs(self) -> tuple[str, ...]:
        return ()

    def draw(self, key: PRNGKey, rows: dict[str, Array]) -> tuple[PairBatch, Draws]:
        batch = PairBatch(rows["trajectory"], conditions_of(rows))
        return batch, draw(key, batch, self.setup.preset.memory.chunk, self.recipe.dropout)

    def loss(self, params: Params, batch: PairBatch, draws: Draws) -> Array:
        setup = self.setup
        return regression_loss(setup.student, setup.steps, setup.schedule, params, batch, draws)

    @functools.cached_property
    def _sample(self) -> Any:
        @jax.jit
        def make(state: State, frozen: Frozen, rows: dict[str, Array]) -> Array:
            return make_shot(
                self.setup,
                self.params(state, frozen),
                conditions_of(rows),
                self.setup.key("sample"),
            )

        return make

    def flops(self, i: int) -> float:
        setup, cfg, memory = self.setup, self.setup.preset.dit, self.setup.preset.memory
        tokens = int(np.prod(cfg.grid(*setup.grid)))
        context = flops.forward(
            cfg, memory.context * tokens, memory.context * tokens, memory.captions
        )
        forward = context + flops.chunk_passes(cfg, memory, setup.frames, tokens)
        return setup.run.batch * 3 * forward

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        rows = abstract_rows(self.setup, self.setup.preset.memory.captions, target=False)
        shape = (self.setup.run.batch, *self._kept)
        place = batch_sharding(self.setup.mesh, len(shape))
        rows["trajectory"] = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=place)
        yield Program("step", self._train, (state, frozen, rows, np.int32(0)), self.flops(0))
