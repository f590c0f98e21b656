"""Stage 4: distribution matching between shots, on a history that the student has made itself.

A batch of stories is walked shot by shot, one optimiser step a shot: step i is shot i mod S of
story i // S. The shot that a step's rollout makes becomes history: `extend_history` decodes it and
encodes the frames that later shots can ask for, each by itself. Which frames these are, and which
are a shot's context, is planned on the host by the rule of inference (memory/plan).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.checkpoint.checkpoint import Checkpoint
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding, param_shardings
from shotstream_jax.core.typing import Array, Float, Int, Leaf, Params, typechecked
from shotstream_jax.data.dataset import Dataset
from shotstream_jax.data.rows import captions_row, embedding_reader
from shotstream_jax.data.samples import held_out_clips
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.plan import EMPTY, ShotPlan, plan_shot
from shotstream_jax.memory.select import candidates, shot_intervals
from shotstream_jax.presets import Preset
from shotstream_jax.train.network import Origin, Weights
from shotstream_jax.train.recipe import DmdRecipe
from shotstream_jax.train.setup import Setup, abstract_batch
from shotstream_jax.train.stages.dmd import Distillation, DmdFixed, DmdState
from shotstream_jax.train.stages.samples import sample_student
from shotstream_jax.train.stages.stage import Pictures, Source, compiled, compiled_step
from shotstream_jax.train.step import Metrics
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE

VAE_PART = Origin("start", "vae")
History = Float[Array, "b shots kept h w c"]
Captions = Float[Array, "b shots l e"]


@flax.struct.dataclass
class StoryState:
    """What changes: the networks, and the latents of the stories' shots so far that are kept."""

    networks: DmdState
    history: History


@flax.struct.dataclass
class StoryFixed:
    """What the steps only read. vae: the autoencoder's parameters, float32."""

    networks: DmdFixed
    vae: Params


class StepPlan(NamedTuple):
    """What the host knows of a shot, the same for all stories of a batch.

    shot: its conditions (memory/plan).
    entry [C]: where in the history of its shot each context frame lies.
    keep [K]: the frames of this shot that later ones can ask for, counted in the shot; the last one
      is repeated up to K.
    """

    shot: ShotPlan
    entry: np.ndarray
    keep: np.ndarray


def plan_story(shots: int, length: int, budget: int) -> list[StepPlan]:
    """The plans of all shots of a story.

    shots: how many. length: pixel frames of each. budget: the number C of context frames.
    """
    intervals = shot_intervals([length] * shots)
    # The frames that are kept of each shot, counted in the shot.
    kept = []
    for number, (first, _) in enumerate(intervals):
        kept.append(candidates(number, first, length, budget) - first)
    most = max(len(frames) for frames in kept)
    plans = []
    for number in range(shots):
        shot = plan_shot(intervals[:number], budget)
        # Where the context frames are among the kept ones of their shots.
        entry = np.zeros(budget, np.int32)
        if number > 0:
            for i, (source, frame) in enumerate(zip(shot.shots, shot.frames, strict=True)):
                in_shot = frame - intervals[source][0]
                entry[i] = np.flatnonzero(kept[source] == in_shot)[0]
        # All shots keep equally many, so that one program serves all of them.
        keep = np.full(most, kept[number][-1], np.int32)
        keep[: len(kept[number])] = kept[number]
        plans.append(StepPlan(shot, entry, keep))
    return plans


@typechecked
def story_conditions(history: History, captions: Captions, plan: StepPlan) -> Conditions:
    """A shot's conditions from the stories so far."""
    batch = history.shape[0]
    shot = plan.shot
    # The context frames, [b, C, h, w, c]; zeros before the first shot.
    context = history[:, shot.shots, plan.entry] * (shot.number > 0)
    # The captions in their slots, [b, C + 1, l, e]; zeros in empty ones.
    is_filled = jnp.asarray(shot.slots) != EMPTY
    text = captions[:, shot.slots] * is_filled.astype(captions.dtype)[None, :, None, None]

    def for_each_story(ids: Array | np.ndarray) -> Array:
        """The same ids for every story of the batch."""
        return jnp.broadcast_to(jnp.asarray(ids)[None], (batch, len(ids)))

    ids = FrameIds(for_each_story(shot.phase), for_each_story(shot.caption))
    return Conditions(context, ids, text)


@typechecked
def extend_history(
    vae: VAE,
    params: Params,
    history: History,
    latents: Float[Array, "b f h w c"],
    keep: Int[Array, "kept"] | np.ndarray,
    number: Int[Array, ""] | np.ndarray,
) -> History:
    """The history with shot `number`: its frames `keep`, decoded and encoded, each by itself."""
    # Only the pictures of the kept frames are encoded again.
    frames = codec.decode(vae, params, latents)[:, keep]  # [b, kept, y, x, 3]

    def encode(frame: Array) -> Array:
        """Frames [b, y, x, 3], each as a video by itself."""
        return codec.encode_frame(vae, params, frame)

    encoded = jax.lax.map(encode, jnp.moveaxis(frames, 1, 0))  # [kept, b, h, w, c]
    of_shot = jnp.moveaxis(encoded, 0, 1)
    return jax.lax.dynamic_update_index_in_dim(history, of_shot, number, axis=1)


@dataclasses.dataclass(frozen=True)
class InterStage:
    """Stage 4. Batches are the captions of stories [b, shots, l, e]; pictures are not used."""

    recipe: DmdRecipe
    setup: Setup

    @functools.cached_property
    def distillation(self) -> Distillation:
        """The networks and their steps."""
        return Distillation(self.recipe, self.setup)

    @functools.cached_property
    def plans(self) -> list[StepPlan]:
        """What each shot of a story is conditioned on, and what is kept of it."""
        preset = self.setup.preset
        length = preset.vae.pixel_frames(self.setup.frames)
        return plan_story(self.recipe.shots, length, preset.memory.context)

    @property
    def history_shape(self) -> tuple[int, ...]:
        """Of the history: (b, shots, kept, h, w, c)."""
        kept = len(self.plans[0].keep)
        return (self.setup.run.batch, self.recipe.shots, kept, *self.setup.latent_shape)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""
        return (*self.distillation.origins, VAE_PART)

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """The weights that `fixed` is made of."""
        return (*self.distillation.fixed_origins, VAE_PART)

    @property
    def negative(self) -> str:
        """The real score is guided away from the negative prompt."""
        return "embedding"

    def initial_state(self, weights: Weights) -> StoryState:
        """The state before the first step."""
        networks = self.distillation.initial_state(weights)
        return StoryState(networks, jnp.zeros(self.history_shape))

    def fixed(self, weights: Weights, negative: Array | None) -> StoryFixed:
        """What the steps only read."""
        return StoryFixed(self.distillation.fixed(weights, negative), weights[VAE_PART])

    def shardings(self, state: StoryState, fixed: StoryFixed) -> tuple[StoryState, StoryFixed]:
        """Where all arrays lie."""
        mesh = self.setup.mesh
        networks, frozen = self.distillation.shardings(state.networks, fixed.networks)
        history: Leaf = batch_sharding(mesh, len(self.history_shape))
        vae = param_shardings(mesh, "vae", fixed.vae)
        return StoryState(networks, history), StoryFixed(frozen, vae)

    def source(self, data: Dataset, start: Checkpoint) -> Source:
        """Clips with enough captions."""
        # A story's first shots are used, so longer clips serve as well.
        shots = self.recipe.shots
        held_out_numbers = held_out_clips(data, self.recipe.data.held_out)
        train = []
        held_out = []
        longest = 0
        too_short = 0
        for number, clip in enumerate(data.clips):
            longest = max(longest, len(clip.shots))
            if len(clip.shots) < shots:
                too_short += 1
            elif number in held_out_numbers:
                held_out.append(number)
            else:
                train.append(number)
        if not train:
            raise InputError(
                f"{data.folder} has no story of {shots} shots to train on "
                f"(the longest has {longest}): lower shots, or add clips"
            )
        read_caption = embedding_reader(self.setup.preset.dit.text_len)

        def load(clip: int) -> np.ndarray:
            """The captions of a clip."""
            return captions_row(data, clip, shots, read_caption)

        left_out = {
            f"stories of fewer than {shots} shots": too_short,
            "clips that could not be encoded": len(data.broken),
        }
        return Source(train, held_out, load, data.settings.fps, left_out, data.fingerprint)

    def batch_index(self, step: int) -> int:
        """A batch of stories lasts as many steps as they have shots."""
        return step // self.recipe.shots

    def step(
        self, i: int, state: StoryState, fixed: StoryFixed, batch: Captions
    ) -> tuple[StoryState, Metrics]:
        """One optimiser step, of the student or of the fake score, on the stories' next shot."""
        # 1. An optimiser step on the shot that comes next.
        plan = self.plans[i % self.recipe.shots]
        is_generator = self.recipe.distillation.trains_generator(i)
        step = inter_generator_step if is_generator else inter_critic_step
        state, metrics, made = compiled_step(step, self, outputs=2)(
            state, fixed, batch, np.int32(i), plan
        )
        # 2. The shot that it made becomes history for the following ones.
        history = self._extend(state.history, fixed, made, plan)
        return StoryState(state.networks, history), metrics

    def held_out(
        self, state: StoryState, fixed: StoryFixed, batch: Captions, number: int
    ) -> Metrics:
        """Means over the shots of the stories, each on a history made with the current student."""
        # A story from its first shot on, made with the student as it is now.
        history = self._empty_history()
        found = []
        for k, plan in enumerate(self.plans):
            draw = np.int32(number * len(self.plans) + k)
            metrics, made = compiled(held_out_inter_losses, self)(
                state.networks, fixed, history, batch, draw, plan
            )
            history = self._extend(history, fixed, made, plan)
            found.append(metrics)
        return jax.tree.map(lambda *values: sum(values) / len(values), *found)

    def sample(
        self,
        state: StoryState,
        fixed: StoryFixed,
        batch: Captions,
        decode: Callable[[Array], Pictures],
    ) -> list[Pictures]:
        """All shots of the batch's stories as the student makes them."""
        # Each shot is made on those before it, as in inference.
        history = self._empty_history()
        shots = []
        for plan in self.plans:
            made = compiled(sample_inter, self)(state.networks, fixed, history, batch, plan)
            shots.append(decode(made))
            history = self._extend(history, fixed, made, plan)
        return shots

    def trained_parts(self, state: StoryState, fixed: StoryFixed) -> dict[str, Params]:
        """The student."""
        return self.distillation.trained_parts(state.networks, fixed.networks)

    def trained_preset(self, trained: dict[str, Params], batches: Iterator[Any]) -> Preset:
        """The sizes stay."""
        return self.setup.preset

    def flops(self, i: int) -> float:
        """Of the student's or the fake score's step."""
        return self.distillation.flops(self.recipe.distillation.trains_generator(i))

    def programs(self, state: StoryState, fixed: StoryFixed) -> Iterator[Program]:
        """Both kinds of steps, and the making of history."""
        setup = self.setup
        cfg = setup.preset.dit
        captions = (self.recipe.shots, cfg.text_len, cfg.text_dim)
        batch = abstract_batch(setup, captions, setup.dtype)
        plan = self.plans[-1]
        step_arguments = (state, fixed, batch, np.int32(0), plan)
        generator = compiled_step(inter_generator_step, self, outputs=2)
        critic = compiled_step(inter_critic_step, self, outputs=2)
        yield Program("generator", generator, step_arguments, self.distillation.flops(True))
        yield Program("critic", critic, step_arguments, self.distillation.flops(False))
        made = abstract_batch(setup, setup.target_shape[1:], jnp.float32)
        arguments = (state.history, fixed.vae, made, plan.keep, plan.shot.number)
        yield Program("extend_history", compiled_extension(self), arguments, 0.0)

    def _extend(self, history: History, fixed: StoryFixed, made: Array, plan: StepPlan) -> History:
        extend = compiled_extension(self)
        return extend(history, fixed.vae, made, plan.keep, plan.shot.number)

    def _empty_history(self) -> History:
        sharding = batch_sharding(self.setup.mesh, len(self.history_shape))
        make = functools.partial(jnp.zeros, self.history_shape)
        return jax.jit(make, out_shardings=sharding)()


@functools.cache
def compiled_extension(stage: InterStage) -> Any:
    """extend_history(history, …), compiled once for a stage; the history is donated."""

    def extend(history: History, vae: Params, made: Array, keep: Array, number: Array) -> History:
        """`extend_history` with the stage's autoencoder."""
        return extend_history(stage.setup.vae, vae, history, made, keep, number)

    sharding = batch_sharding(stage.setup.mesh, len(stage.history_shape))
    return jax.jit(extend, donate_argnums=0, out_shardings=sharding)


def inter_generator_step(
    stage: InterStage,
    state: StoryState,
    fixed: StoryFixed,
    batch: Captions,
    i: Array,
    plan: StepPlan,
) -> tuple[StoryState, Metrics, Float[Array, "b f h w c"]]:
    """One optimiser step of the student. Returns the shots that it made, too."""
    conditions = story_conditions(state.history, batch, plan)
    key = stage.setup.key("train", i)
    networks, metrics, made = stage.distillation.generator_step(
        state.networks, fixed.networks, conditions, key
    )
    return StoryState(networks, state.history), metrics, made


def inter_critic_step(
    stage: InterStage,
    state: StoryState,
    fixed: StoryFixed,
    batch: Captions,
    i: Array,
    plan: StepPlan,
) -> tuple[StoryState, Metrics, Float[Array, "b f h w c"]]:
    """One optimiser step of the fake score. Returns the shots that the student made, too."""
    conditions = story_conditions(state.history, batch, plan)
    key = stage.setup.key("train", i)
    networks, metrics, made = stage.distillation.critic_step(
        state.networks, fixed.networks, conditions, key
    )
    return StoryState(networks, state.history), metrics, made


def held_out_inter_losses(
    stage: InterStage,
    networks: DmdState,
    fixed: StoryFixed,
    history: History,
    batch: Captions,
    number: Array,
    plan: StepPlan,
) -> tuple[Metrics, Float[Array, "b f h w c"]]:
    """Both losses of one shot, and the shots that the student made."""
    conditions = story_conditions(history, batch, plan)
    key = stage.setup.key("held_out", number)
    return stage.distillation.losses(networks, fixed.networks, conditions, key)


def sample_inter(
    stage: InterStage,
    networks: DmdState,
    fixed: StoryFixed,
    history: History,
    batch: Captions,
    plan: StepPlan,
) -> Float[Array, "b f h w c"]:
    """One shot of each story by the student."""
    conditions = story_conditions(history, batch, plan)
    params = stage.distillation.student_params(networks, fixed.networks)
    key = stage.setup.key("sample", plan.shot.number)
    return sample_student(stage.setup, params, conditions, key)
