"""Stage 1: the next-shot teacher, alone or with its text encoder; bidirectional or causal.

The losses are in train/losses/flow_matching and train/losses/teacher_forcing.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Params
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.rows import (
    CaptionReader,
    ShotBatch,
    embedding_reader,
    target_row,
    token_reader,
)
from shotstream_jax.data.samples import Sample
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.sampler import sample_shot
from shotstream_jax.presets import Preset
from shotstream_jax.train.flops import backward_flops, forcing_flops, teacher_flops
from shotstream_jax.train.losses.flow_matching import (
    FlowDraws,
    draw_flow,
    flow_loss,
    flow_loss_and_tokens,
)
from shotstream_jax.train.losses.teacher_forcing import (
    ForcingDraws,
    draw_forcing,
    forcing_loss,
    forcing_loss_and_tokens,
)
from shotstream_jax.train.losses.truth import TruthTargets, truth_targets
from shotstream_jax.train.network import Network, Origin, Weights
from shotstream_jax.train.recipe import TeacherRecipe
from shotstream_jax.train.setup import Setup, abstract_batch, abstract_conditions
from shotstream_jax.train.stages.captions import embed_captions, embed_tokens
from shotstream_jax.train.stages.samples import sample_autoregressive
from shotstream_jax.train.stages.stage import (
    Pictures,
    Source,
    compiled,
    compiled_step,
    shots_source,
)
from shotstream_jax.train.stages.teacher_state import (
    TeacherFixed,
    TeacherParams,
    TeacherState,
    TruthState,
    make_state,
    moves_of,
)
from shotstream_jax.train.stages.truth import TruthPart
from shotstream_jax.train.state import Trained, update
from shotstream_jax.train.step import Metrics, batch_gradients, normal_rows
from shotstream_jax.world.class_maps import MAPS

DIT = Origin("start", "dit")
TEXT = Origin("start", "text")


@dataclasses.dataclass(frozen=True)
class TeacherStage:
    """Stage 1.

    With recipe.text_lr the rows have tokens where embeddings were, and both networks learn.
    """

    recipe: TeacherRecipe
    setup: Setup

    @property
    def trains_text(self) -> bool:
        """Whether the text encoder learns too."""
        return self.recipe.text_lr > 0

    @property
    def uses_masks(self) -> bool:
        """Whether errors weigh more where a mask is white."""
        return self.recipe.mask_weight > 0

    @property
    def truth(self) -> TruthPart | None:
        """The head that says what there is to see, if the recipe has one."""
        if self.recipe.truth.weight == 0:
            return None
        return TruthPart(self.recipe.truth, self.recipe.optim, self.setup)

    @property
    def teacher(self) -> Network:
        """The transformer."""
        return self.setup.network(DIT, self.recipe.trained, self.recipe.optim)

    @property
    def text(self) -> Network:
        """The text encoder, trained with the transformer: all of it, at a rate of its own."""
        optim = dataclasses.replace(self.recipe.optim, lr=self.recipe.text_lr)
        return self.setup.network(TEXT, Trained(ema=self.recipe.trained.ema), optim)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""
        return (DIT, TEXT) if self.trains_text else (DIT,)

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """The weights that `fixed` is made of."""
        return (DIT,) if self.teacher.has_frozen else ()

    @property
    def negative(self) -> str:
        """What is needed of the negative prompt."""
        return "tokens" if self.trains_text else "embedding"

    @property
    def caption_slots(self) -> int:
        """Captions of a row."""
        only_target = self.recipe.data.captions == "target"
        return 1 if only_target else self.setup.preset.memory.captions

    def initial_state(self, weights: Weights) -> TeacherState:
        """The state before the first step."""
        # Each network has a random stream of its own for a new adapter.
        teacher = self.teacher.initial_state(weights, self.setup.key("adapter", 0))
        text = None
        if self.trains_text:
            text = self.text.initial_state(weights, self.setup.key("adapter", 1))
        truth = None if self.truth is None else self.truth.initial_state()
        return make_state(teacher, text, truth)

    def fixed(self, weights: Weights, negative: Array | None) -> TeacherFixed:
        """What the steps only read."""
        assert negative is not None
        return TeacherFixed(self.teacher.frozen(weights), negative)

    def shardings(
        self, state: TeacherState, fixed: TeacherFixed
    ) -> tuple[TeacherState, TeacherFixed]:
        """Where all arrays lie."""
        mesh = self.setup.mesh
        text = None
        if state.text is not None:
            text = self.text.state_shardings(mesh, state.text)
        truth = None
        if self.truth is not None and isinstance(state, TruthState):
            truth = self.truth.network.state_shardings(mesh, state.truth)
        state = make_state(self.teacher.state_shardings(mesh, state.teacher), text, truth)
        frozen = self.teacher.frozen_shardings(mesh, fixed.teacher)
        return state, TeacherFixed(frozen, self.setup.whole)

    def source(self, data: Dataset, start: Checkpoint) -> Source:
        """Target shots with their conditions."""
        # The first record stands for all: a table has masks for every clip or for none.
        if self.uses_masks and not data.record(0).masks:
            raise InputError(
                f"mask_weight {self.recipe.mask_weight}: {self.recipe.data.path} has no masks; "
                "precompute a table with a column mask_path, or set mask_weight=0"
            )
        uses_labels = self.truth is not None
        if self.truth is not None:
            self.truth.check(data, self.recipe.data.path)
        read_caption = self._caption_reader(start)

        def load(sample: Sample) -> ShotBatch:
            """A target shot with its conditions."""
            return target_row(
                data, sample, self.recipe.data, read_caption, self.uses_masks, uses_labels
            )

        return shots_source(data, self.recipe.data, load)

    def _caption_reader(self, start: Checkpoint) -> CaptionReader:
        length = self.setup.preset.dit.text_len
        if self.trains_text:
            return token_reader(start.tokenizer(), length)
        return embedding_reader(length)

    def batch_index(self, step: int) -> int:
        """A batch a step."""
        return step

    def step(
        self, i: int, state: TeacherState, fixed: TeacherFixed, batch: ShotBatch
    ) -> tuple[TeacherState, Metrics]:
        """One optimiser step."""
        return compiled_step(teacher_step, self)(state, fixed, batch, np.int32(i))

    def held_out(
        self, state: TeacherState, fixed: TeacherFixed, batch: ShotBatch, number: int
    ) -> Metrics:
        """The loss on a batch that is never trained on."""
        return compiled(held_out_teacher_loss, self)(state, fixed, batch, np.int32(number))

    def sample(
        self,
        state: TeacherState,
        fixed: TeacherFixed,
        batch: ShotBatch,
        decode: Callable[[Array], Pictures],
    ) -> list[Pictures]:
        """The batch's shots by the teacher's sampler."""
        return [decode(compiled(sample_teacher, self)(state, fixed, batch))]

    def trained_parts(self, state: TeacherState, fixed: TeacherFixed) -> dict[str, Params]:
        """The transformer, and the text encoder if it was trained."""
        parts = {"dit": self.teacher.averaged_params(state.teacher, fixed.teacher)}
        if state.text is not None:
            parts["text"] = self.text.averaged_params(state.text, {})
        return parts

    def trained_preset(self, trained: dict[str, Params], batches: Iterator[Any]) -> Preset:
        """The sizes stay."""
        return self.setup.preset

    def flops(self, i: int) -> float:
        """Of the transformer; a text encoder in training is small beside it."""
        setup = self.setup
        cfg = setup.preset.dit
        tokens = setup.frame_tokens
        memory = setup.preset.memory
        count = forcing_flops if self.recipe.causal else teacher_flops
        forward = count(cfg, memory, setup.frames, tokens, self.caption_slots)
        total = (memory.context + setup.frames) * tokens
        if self.recipe.causal:
            # The true history goes through the pass too.
            total += (setup.frames - memory.chunk) * tokens
        backward = backward_flops(cfg, total, forward, self.recipe.trained.what)
        return setup.run.batch * (forward + backward)

    def programs(self, state: TeacherState, fixed: TeacherFixed) -> Iterator[Program]:
        """The one step."""
        setup = self.setup
        shot = (setup.frames, *setup.latent_shape)
        conditions = abstract_conditions(setup, self.caption_slots)
        if self.trains_text:
            tokens = (self.caption_slots, setup.preset.dit.text_len)
            text = abstract_batch(setup, tokens, jnp.int32)
            conditions = dataclasses.replace(conditions, text=text)
        mask = None
        if self.uses_masks:
            mask = abstract_batch(setup, shot[:-1], jnp.float32)
        labels = None
        if self.truth is not None:
            frames = setup.preset.memory.context + setup.frames
            labels = abstract_batch(setup, (frames, *setup.grid, len(MAPS)), jnp.int32)
        batch = ShotBatch(abstract_batch(setup, shot, jnp.float32), conditions, mask, labels)
        arguments = (state, fixed, batch, np.int32(0))
        yield Program("step", compiled_step(teacher_step, self), arguments, self.flops(0))


def teacher_step(
    stage: TeacherStage, state: TeacherState, fixed: TeacherFixed, batch: ShotBatch, i: Array
) -> tuple[TeacherState, Metrics]:
    """One optimiser step on the flow-matching loss, of the transformer and perhaps the text
    encoder and the head that says what there is to see.
    """
    draws = _draw(stage, batch, "train", i)
    targets = _truth_targets(stage, batch, draws)

    # 1. The gradient by all that moves, over micro-batches.
    def loss(moves: dict[str, Params], rows: tuple[ShotBatch, FlowDraws, Any]) -> Any:
        """Of micro-batch rows, as train/step wants it."""
        params = _params(stage, moves, fixed)
        value, metrics = teacher_loss(stage, params, *rows)
        return value, (metrics, None)

    pieces = stage.recipe.run.accumulate
    grads, metrics, _ = batch_gradients(loss, moves_of(state), (batch, draws, targets), pieces)

    # 2. An update of each network, with a gradient clip of its own.
    network = stage.teacher
    teacher, norm = update(state.teacher, grads["teacher"], network.optimizer, network.trained.ema)
    metrics["grad_norm"] = norm
    text = None
    if state.text is not None:
        network = stage.text
        text, norm = update(state.text, grads["text"], network.optimizer, network.trained.ema)
        metrics["text/grad_norm"] = norm
    truth = None
    if stage.truth is not None and isinstance(state, TruthState):
        truth, norm = update(state.truth, grads["truth"], stage.truth.network.optimizer, ema=0.0)
        metrics["truth/grad_norm"] = norm
    return make_state(teacher, text, truth), metrics


def held_out_teacher_loss(
    stage: TeacherStage,
    state: TeacherState,
    fixed: TeacherFixed,
    batch: ShotBatch,
    number: Array,
) -> Metrics:
    """The same loss, with draws that depend on the batch's number only."""
    params = _params(stage, moves_of(state), fixed)
    draws = _draw(stage, batch, "held_out", number)
    targets = _truth_targets(stage, batch, draws)
    loss, metrics = teacher_loss(stage, params, batch, draws, targets)
    return {"loss": loss} | metrics


def sample_teacher(
    stage: TeacherStage, state: TeacherState, fixed: TeacherFixed, batch: ShotBatch
) -> Float[Array, "b f h w c"]:
    """The batch's shots by the guided sampler."""
    setup = stage.setup
    # Embeddings of the captions and of the negative prompt, by the text encoder as it is now.
    sampler = stage.recipe.sampler
    params = _params(stage, moves_of(state), fixed)
    conditions = embed_captions(setup.text, params.text, batch.conditions)
    negative = fixed.negative
    if params.text is not None:
        negative = embed_tokens(setup.text, params.text, negative[None])[0]
    noise = normal_rows(setup.key("sample"), batch.target.shape)
    if stage.recipe.causal:
        return sample_autoregressive(setup, params.teacher, conditions, negative, sampler, noise)
    schedule = Schedule(sampler.steps, setup.schedule.shift)
    guidance = sampler.guidance
    return sample_shot(
        setup.teacher, schedule, params.teacher, conditions, negative, noise, guidance
    )


def teacher_loss(
    stage: TeacherStage,
    params: TeacherParams,
    batch: ShotBatch,
    draws: FlowDraws | ForcingDraws,
    targets: TruthTargets | None,
) -> tuple[Float[Array, ""], Metrics]:
    """The loss of a batch: flow matching, and the truth if the recipe has it (`targets`).

    Returns (their weighted sum, both in parts; nothing without the truth).
    """
    # What a mask shows weighs more: hats are small, and all that memory alone can tell.
    setup = stage.setup
    weights = None
    if batch.mask is not None:
        weights = 1 + stage.recipe.mask_weight * batch.mask
    shot = (batch.target, embed_captions(setup.text, params.text, batch.conditions))
    weighing = (weights, stage.recipe.time_weight)
    is_causal = isinstance(draws, ForcingDraws)
    network: Any = setup.forced if is_causal else setup.teacher
    given = (network, setup.schedule, params.teacher, *shot, draws)
    if stage.truth is None:
        flow: Any = forcing_loss if is_causal else flow_loss
        return flow(*given, *weighing), {}

    # With the truth, by the head, from the tokens that the same pass leaves after a layer.
    assert params.truth is not None and targets is not None
    cfg = stage.recipe.truth
    with_tokens: Any = forcing_loss_and_tokens if is_causal else flow_loss_and_tokens
    flow_part, tokens = with_tokens(*given, cfg.layer, *weighing)
    truth_part, metrics = stage.truth.loss(params.truth, tokens, targets)
    return flow_part + cfg.weight * truth_part, metrics | {"flow_loss": flow_part}


def _draw(
    stage: TeacherStage, batch: ShotBatch, name: str, number: Array
) -> FlowDraws | ForcingDraws:
    setup = stage.setup
    key = setup.key(name, number)
    shape = batch.target.shape
    dropout = stage.recipe.dropout
    if stage.recipe.causal:
        chunk = setup.preset.memory.chunk
        return draw_forcing(key, shape, chunk, setup.schedule.steps, dropout)
    return draw_flow(key, shape, setup.schedule, dropout)


def _truth_targets(
    stage: TeacherStage, batch: ShotBatch, draws: FlowDraws | ForcingDraws
) -> TruthTargets | None:
    """The labels of a batch with their weights, if the recipe has the truth."""
    if batch.labels is None:
        return None
    context = stage.setup.preset.memory.context
    return truth_targets(batch.labels, draws.dropped.context, context)


def _params(stage: TeacherStage, moves: dict[str, Params], fixed: TeacherFixed) -> TeacherParams:
    teacher = stage.teacher.params(moves["teacher"], fixed.teacher)
    text = None
    if "text" in moves:
        text = stage.text.params(moves["text"], {})
    truth = None
    if stage.truth is not None:
        truth = stage.truth.network.params(moves["truth"], {})
    return TeacherParams(teacher, text, truth)
