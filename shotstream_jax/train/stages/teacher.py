"""Stage 1 as the loop runs it: the losses are in flow_matching."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding
from shotstream_jax.core.typing import Array, Float, Int, PRNGKey
from shotstream_jax.data.batches import Row, Texts, embeddings, target_row, token_ids
from shotstream_jax.data.records import Dataset
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.model import Params
from shotstream_jax.text.tokenizer import PAD
from shotstream_jax.text.umt5 import UMT5
from shotstream_jax.train import flops
from shotstream_jax.train.losses.flow_matching import (
    Draws,
    Guidance,
    draw,
    flow_loss,
    guided_velocity,
)
from shotstream_jax.train.recipe import TeacherRecipe
from shotstream_jax.train.setup import (
    Frozen,
    Network,
    Networks,
    Origin,
    Setup,
    State,
    abstract_rows,
    batch_of,
)
from shotstream_jax.train.stage import Source, shots_source
from shotstream_jax.train.state import Trained
from shotstream_jax.train.step import normal_rows
from shotstream_jax.train.supervised import Supervised


def embed_slots(
    encoder: UMT5, params: Params, ids: Int[Array, "b slots l"]
) -> Float[Array, "b slots l e"]:
    """The embedding of each slot's tokens; a slot without tokens has zeros."""
    rows = ids.reshape(-1, ids.shape[-1])
    text = encoder.apply({"params": params}, rows, jnp.sum(rows != PAD, axis=-1))
    return text.reshape(*ids.shape, -1)


class TeacherStage(Supervised):
    """The transformer alone, or with its text encoder (recipe.text_lr): then rows have tokens where embeddings were."""

    result = "teacher"
    recipe: TeacherRecipe

    def __init__(self, recipe: TeacherRecipe, setup: Setup):
        super().__init__(recipe, setup)
        if self._reads:
            optim = dataclasses.replace(recipe.optim, lr=recipe.text_lr)
            text = Network(Trained(ema=recipe.trained.ema), optim, Origin("start", "text"))
            self.networks = Networks({self.result: self.network, "text": text})

    @property
    def _reads(self) -> bool:
        return self.recipe.text_lr > 0

    @property
    def _masked(self) -> bool:
        return self.recipe.mask_weight > 0

    def source(self, dataset: Dataset) -> Source:
        if self._masked and not dataset.record(0).masks:
            raise InputError(
                f"mask_weight {self.recipe.mask_weight}: {self.recipe.data.path} has no masks; precompute a table with "
                "a column mask_path, or set mask_weight=0"
            )
        return shots_source(dataset, self.recipe.data)

    def load(self, dataset: Dataset, item: Any) -> Row:
        return target_row(dataset, item, self.recipe.data, self._texts, self._masked)

    @functools.cached_property
    def _texts(self) -> Texts:
        preset = self.setup.preset
        if not self._reads:
            return embeddings(preset.dit.text_len)
        return token_ids(
            open_checkpoint(self.recipe.start.checkpoint).tokenizer(), preset.dit.text_len
        )

    def needs(self) -> tuple[str, ...]:
        return ("negative_ids",) if self._reads else ("negative",)

    def draw(self, key: PRNGKey, rows: dict[str, Array]) -> tuple[dict[str, Array], Draws]:
        return rows, draw(key, rows["target"].shape, self.setup.schedule, self.recipe.dropout)

    def params(self, state: State, frozen: Frozen) -> Params:
        """Of each network, by its name."""
        moving, dtype = self.networks.moving, self.setup.dtype
        return {
            name: network.params(state[name], frozen[name], dtype)
            for name, network in moving.items()
        }

    def loss(self, params: Params, batch: dict[str, Array], draws: Draws) -> Array:
        rows, setup = self._embedded(params, batch), self.setup
        w = 1 + self.recipe.mask_weight * rows["mask"] if self._masked else None
        network, time_weight = params[self.result], self.recipe.time_weight
        return flow_loss(
            setup.teacher, setup.schedule, network, batch_of(rows), draws, w, time_weight
        )

    def _embedded(self, params: Params, rows: dict[str, Array]) -> dict[str, Array]:
        return rows | {"text": self._embed(params, rows["text"])} if self._reads else rows

    def _embed(self, params: Params, ids: Int[Array, "b slots l"]) -> Float[Array, "b slots l e"]:
        """By the text encoder in training."""
        return embed_slots(self.setup.text, params["text"], ids)

    def _negative(self, params: Params, frozen: Frozen) -> Float[Array, "1 l e"]:
        return (
            self._embed(params, frozen["negative_ids"][None])[0]
            if self._reads
            else frozen["negative"]
        )

    @functools.cached_property
    def _sample(self) -> Any:
        setup = self.setup
        schedule = Schedule(self.recipe.sampler_steps, setup.schedule.shift)
        guidance = Guidance.of_sampler(self.recipe.guidance, self.recipe.context_guidance)

        @jax.jit
        def make(state: State, frozen: Frozen, rows: dict[str, Array]) -> Array:
            params = self.params(state, frozen)
            batch, negative = batch_of(self._embedded(params, rows)), self._negative(params, frozen)
            velocity = guided_velocity(
                setup.teacher, params[self.result], batch.conditions, negative, guidance
            )
            noise = normal_rows(setup.key("sample"), batch.target.shape)
            return sample(velocity, noise, schedule)[0]

        return make

    def flops(self, i: int) -> float:
        """Of the transformer; a text encoder in training is small beside it."""
        setup, cfg = self.setup, self.setup.preset.dit
        tokens, slots = int(np.prod(cfg.grid(*setup.grid))), self._slots
        forward = flops.teacher_pass(cfg, setup.preset.memory, setup.frames, tokens, slots)
        total = (setup.preset.memory.context + setup.frames) * tokens
        return setup.run.batch * (
            forward + flops.backward(cfg, total, forward, self.recipe.trained.what)
        )

    @property
    def _slots(self) -> int:
        return 1 if self.recipe.data.captions == "target" else self.setup.preset.memory.captions

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        rows = abstract_rows(self.setup, self._slots)
        if self._reads:
            shape, sharding = rows["text"].shape[:-1], batch_sharding(self.setup.mesh, 3)
            rows["text"] = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding)
        if self._masked:
            shape, sharding = rows["target"].shape[:-1], batch_sharding(self.setup.mesh, 4)
            rows["mask"] = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)
        yield Program("step", self._train, (state, frozen, rows, np.int32(0)), self.flops(0))
