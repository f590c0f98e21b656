"""Stage 4 as the loop runs it: distribution matching between shots, on a history that the student made itself.

A batch of stories is walked shot by shot, one optimiser step a shot: step i is shot i mod S of story i // S. The
rollout of that very step becomes history: `extend_story` decodes it and encodes the frames that later shots can ask
for, each by itself. Which ones, and which are a shot's context, the host decides by the rule of inference
(memory/select).
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.aot.compile import Program
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import batch_sharding
from shotstream_jax.core.typing import Array, Float, Int, typechecked
from shotstream_jax.data.batches import Row, embeddings, held_out_clips, story_row
from shotstream_jax.data.records import Dataset
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.select import candidates, select_context
from shotstream_jax.model import Params
from shotstream_jax.train.generation import make_shot
from shotstream_jax.train.recipe import DmdRecipe
from shotstream_jax.train.setup import Frozen, Setup, State, jit_step
from shotstream_jax.train.stage import Source, clips_source
from shotstream_jax.train.stages.dmd_intra import Distillation
from shotstream_jax.train.step import Metrics
from shotstream_jax.vae import codec
from shotstream_jax.vae.model import VAE


class Plan(NamedTuple):
    """Shot k of a story, as the host sees it. Plain numbers, the same for all stories of a batch.

    shot, entry [C]: where the context frames lie in the story's memory. phase, caption [C + 1]: ids of the context
    frames and, last, of the shot. slots [C + 1]: the shot whose caption is in each text slot, −1 for none.
    keep [K]: the frames of this shot that later ones can ask for (the last one repeated up to K). number: k.
    """

    shot: np.ndarray
    entry: np.ndarray
    phase: np.ndarray
    caption: np.ndarray
    slots: np.ndarray
    keep: np.ndarray
    number: np.ndarray


def kept_frames(shots: int, length: int, budget: int) -> list[np.ndarray]:
    """Of every shot of a story, the frames (counted in the shot) that later shots can ask for."""
    # The rule rounds frame numbers of the whole story, half to even.
    return [candidates(k, k * length, length, budget) - k * length for k in range(shots)]


def plan_shot(number: int, kept: list[np.ndarray], length: int, budget: int) -> Plan:
    """The plan of shot `number`; every shot has `length` pixel frames."""
    first = max(0, number - budget)
    if number:
        pick = select_context([length] * number, budget)
        frames = pick.frames - pick.shots * length
        entry = [
            int(np.flatnonzero(kept[s] == f)[0]) for s, f in zip(pick.shots, frames, strict=True)
        ]
        shot, phase = pick.shots, np.append(pick.shots, number)
        caption = phase - first
    else:  # zero latents of shot 0, and the shot is shot 1
        shot = entry = np.zeros(budget)
        phase, caption = np.append(np.zeros(budget), 1), np.zeros(budget + 1)
    slots = np.full(budget + 1, -1)
    slots[: number - first + 1] = np.arange(first, number + 1)
    keep = np.resize(kept[number], max(map(len, kept)))
    keep[len(kept[number]) :] = kept[number][-1]
    return Plan(
        *(np.asarray(a, np.int32) for a in (shot, entry, phase, caption, slots, keep, number))
    )


@typechecked
def story_conditions(
    story: Float[Array, "b shots kept h w c"], text: Float[Array, "b shots l e"], plan: Plan
) -> Conditions:
    """A shot's conditions from the story so far."""
    b = story.shape[0]
    context = story[:, plan.shot, plan.entry] * (plan.number > 0)
    there = (jnp.asarray(plan.slots) >= 0).astype(text.dtype)[None, :, None, None]
    rows = lambda ids: jnp.broadcast_to(jnp.asarray(ids)[None], (b, len(ids)))  # noqa: E731
    return Conditions(
        context, FrameIds(rows(plan.phase), rows(plan.caption)), text[:, plan.slots] * there
    )


@typechecked
def extend_story(
    vae: VAE,
    params: Params,
    story: Float[Array, "b shots kept h w c"],
    latents: Float[Array, "b f h w c"],
    keep: Int[Array, "kept"] | np.ndarray,
    number: Int[Array, ""] | np.ndarray,
) -> Float[Array, "b shots kept h w c"]:
    """The story with one shot more: its frames `keep`, decoded and encoded, each by itself."""
    frames = jnp.moveaxis(codec.decode(vae, params, latents)[:, keep], 1, 0)
    encoded = jax.lax.map(lambda frame: codec.encode_frame(vae, params, frame), frames)
    return jax.lax.dynamic_update_index_in_dim(story, jnp.moveaxis(encoded, 0, 1), number, axis=1)


class InterStage(Distillation):
    results = ("student",)

    def __init__(self, recipe: DmdRecipe, setup: Setup):
        super().__init__(recipe, setup)
        length, budget = setup.preset.vae.pixel_frames(setup.frames), setup.preset.memory.context
        kept = kept_frames(recipe.shots, length, budget)
        self._plans = [plan_shot(k, kept, length, budget) for k in range(recipe.shots)]
        self._kept = len(self._plans[0].keep)

    def source(self, dataset: Dataset) -> Source:
        """Clips with enough captions; their pictures are not used."""
        long = [i for i, clip in enumerate(dataset.clips) if len(clip.shots) >= self.recipe.shots]
        held = held_out_clips(dataset, self.recipe.data.held_out)
        train = [i for i in long if i not in held]
        if not train:
            most = max(len(clip.shots) for clip in dataset.clips)
            raise InputError(
                f"{dataset.folder} has no story of {self.recipe.shots} shots to train on (the longest has {most}): "
                "lower shots, or add clips"
            )
        return clips_source(
            dataset, train, [i for i in long if i in held], len(dataset.clips) - len(long)
        )

    def load(self, dataset: Dataset, item: int) -> Row:
        return story_row(
            dataset, item, self.recipe.shots, embeddings(self.setup.preset.dit.text_len)
        )

    def extras(self) -> State:
        shape = (self.setup.run.batch, self.recipe.shots, self._kept, *self.setup.latent)
        return {
            "story": jax.ShapeDtypeStruct(
                shape, jnp.float32, sharding=batch_sharding(self.setup.mesh, len(shape))
            )
        }

    def needs(self) -> tuple[str, ...]:
        return ("negative", "vae")

    def batch_index(self, step: int) -> int:
        return step // self.recipe.shots

    def step(
        self, i: int, state: State, frozen: Frozen, rows: dict[str, Array]
    ) -> tuple[State, Metrics]:
        plan = self._plans[i % self.recipe.shots]
        run = self._generator if self.recipe.distillation.trains_generator(i) else self._critic
        state, metrics, made = run(state, frozen, rows, np.int32(i), plan)
        return state | {
            "story": self._extend(state["story"], frozen["vae"], made, plan.keep, plan.number)
        }, metrics

    @functools.cached_property
    def _generator(self) -> Any:
        return self._jitted(self.generator)

    @functools.cached_property
    def _critic(self) -> Any:
        return self._jitted(self.critic)

    def _jitted(self, step: Any) -> Any:
        def train(
            state: State, frozen: Frozen, rows: dict[str, Array], i: Array, plan: Plan
        ) -> tuple[State, Metrics, Array]:
            conditions = story_conditions(state["story"], rows["text"], plan)
            return step(state, frozen, conditions, self.setup.key("train", i))

        return jit_step(train, self.networks.abstract(self.setup)[0] | self.extras(), outputs=2)

    @functools.cached_property
    def _extend(self) -> Any:
        def extend(story: Array, params: Params, made: Array, keep: Array, number: Array) -> Array:
            return extend_story(self.setup.vae, params, story, made, keep, number)

        return jax.jit(extend, donate_argnums=0, out_shardings=self.extras()["story"].sharding)

    def held_out(
        self, state: State, frozen: Frozen, rows: dict[str, Array], number: int
    ) -> Metrics:
        """Means over the shots of the stories, walked."""
        story, found = self._empty_story(), []
        for k, plan in enumerate(self._plans):
            metrics, made = self._losses(
                state, frozen, story, rows, np.int32(number * len(self._plans) + k), plan
            )
            story = self._extend(story, frozen["vae"], made, plan.keep, plan.number)
            found.append(metrics)
        return jax.tree.map(lambda *values: sum(values) / len(values), *found)

    @functools.cached_property
    def _losses(self) -> Any:
        @jax.jit
        def losses(
            state: State, frozen: Frozen, story: Array, rows: Any, number: Array, plan: Plan
        ) -> Any:
            conditions = story_conditions(story, rows["text"], plan)
            return self.losses(state, frozen, conditions, self.setup.key("held_out", number))

        return losses

    def sample(self, state: State, frozen: Frozen, rows: dict[str, Array]) -> list[Array]:
        story, shots = self._empty_story(), []
        for plan in self._plans:
            made = self._sample(state, frozen, story, rows, plan)
            shots.append(self.show(made))
            story = self._extend(story, frozen["vae"], made, plan.keep, plan.number)
        return shots

    @functools.cached_property
    def _sample(self) -> Any:
        @jax.jit
        def make(
            state: State, frozen: Frozen, story: Array, rows: dict[str, Array], plan: Plan
        ) -> Array:
            conditions = story_conditions(story, rows["text"], plan)
            student = self.params("student", state, frozen)
            return make_shot(self.setup, student, conditions, self.setup.key("sample", plan.number))

        return make

    def _empty_story(self) -> Array:
        story = self.extras()["story"]
        return jax.jit(lambda: jnp.zeros(story.shape, story.dtype), out_shardings=story.sharding)()

    def programs(self, state: State, frozen: Frozen) -> Iterator[Program]:
        preset, b = self.setup.preset, self.setup.run.batch
        shape = (b, self.recipe.shots, preset.dit.text_len, preset.dit.text_dim)
        place = batch_sharding(self.setup.mesh, len(shape))
        rows = {"text": jax.ShapeDtypeStruct(shape, self.setup.dtype, sharding=place)}
        plan = self._plans[-1]
        arguments = (state, frozen, rows, np.int32(0), plan)
        yield Program("generator", self._generator, arguments, self.cost(generator=True))
        yield Program("critic", self._critic, arguments, self.cost(generator=False))
        made = jax.ShapeDtypeStruct(
            self.setup.target, jnp.float32, sharding=batch_sharding(self.setup.mesh, 5)
        )
        arguments = (state["story"], frozen["vae"], made, plan.keep, plan.number)
        yield Program("extend_story", self._extend, arguments, 0.0)
