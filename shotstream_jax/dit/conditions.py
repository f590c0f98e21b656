"""What the transformer is told about a shot besides its noisy latents; and dropping parts of it.

And leaving parts of that out.

memory/plan says which frames, phases and captions condition a shot; here they are arrays. The first
dimension of every array is the batch.
"""

import dataclasses

import flax
import jax
import jax.numpy as jnp

from shotstream_jax.core import rng
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Bool, Float, PRNGKey, typechecked
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.plan import FIRST_SHOT_PHASE


@flax.struct.dataclass
class Conditions:
    """The conditions of a shot, by the rule of memory/plan.

    context: clean latents of C frames of earlier shots; zeros before the first shot.
    ids [b, C + 1]: phase and caption slot of the context frames and, in the last column, of the
      shot.
    text: the prompt's embedding in each caption slot. While a text encoder is in training a row of
      data has token ids [b, slots, l] here, which the step embeds first (train/stages/teacher).
    """

    context: Float[Array, "b c_frames h w c"]
    ids: FrameIds
    text: Float[Array, "b slots l e"]

    def context_ids(self) -> FrameIds:
        """Ids of the context frames, [b, C]."""
        return FrameIds(self.ids.phase[:, :-1], self.ids.caption[:, :-1])

    def shot_ids(self, frames: int) -> FrameIds:
        """Ids of a shot, or a chunk of one, with so many frames: [b, frames]."""
        phase = jnp.repeat(self.ids.phase[:, -1:], frames, axis=1)
        caption = jnp.repeat(self.ids.caption[:, -1:], frames, axis=1)
        return FrameIds(phase, caption)

    def frame_ids(self, frames: int) -> FrameIds:
        """Ids of [context, shot of so many frames]: [b, C + frames]."""
        context = self.context_ids()
        shot = self.shot_ids(frames)
        phase = jnp.concatenate([context.phase, shot.phase], axis=1)
        caption = jnp.concatenate([context.caption, shot.caption], axis=1)
        return FrameIds(phase, caption)

    def under_one_prompt(self, text: Float[Array, "1 l e"]) -> "Conditions":
        """The same shot and context with all frames under one prompt, such as the negative one."""
        batch = self.context.shape[0]
        slots = jnp.broadcast_to(text[None], (batch, *text.shape))  # [b, 1, l, e]
        ids = FrameIds(self.ids.phase, jnp.zeros_like(self.ids.caption))
        return Conditions(self.context, ids, slots)

    def without_context(self) -> "Conditions":
        """Each shot as if it were a first one, under its own prompt."""
        return drop_context(self, jnp.ones(self.context.shape[0], bool))


@typechecked
def drop_context(conditions: Conditions, drop: Bool[Array, "b"]) -> Conditions:
    """Where `drop`, the shot is conditioned like a first one, but keeps its own caption.

    The context becomes zeros with phase 0 that read caption slot 0, and the shot has phase 1
    (docs/method.md, section 6).
    """
    keep = ~drop
    context = conditions.context * keep[:, None, None, None, None]
    phase = conditions.ids.phase  # [b, C + 1]
    caption = conditions.ids.caption
    shot_phase = jnp.where(drop, FIRST_SHOT_PHASE, phase[:, -1])[:, None]
    phase = jnp.concatenate([phase[:, :-1] * keep[:, None], shot_phase], axis=1)
    caption = jnp.concatenate([caption[:, :-1] * keep[:, None], caption[:, -1:]], axis=1)
    return Conditions(context, FrameIds(phase, caption), conditions.text)


@typechecked
def drop_text(conditions: Conditions, drop: Bool[Array, "b"]) -> Conditions:
    """Where `drop`, the embeddings are zeros; the transformer's text layers still see those."""
    keep = ~drop
    text = conditions.text * keep[:, None, None, None]
    return Conditions(conditions.context, conditions.ids, text)


@dataclasses.dataclass(frozen=True)
class Dropout:
    """The probabilities that a story trains without its context, and without its captions."""

    context: float = 0.1
    text: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.context <= 1 and 0 <= self.text <= 1):
            raise InputError(
                f"dropout of context {self.context} and text {self.text} must be from 0 to 1"
            )

    def draw(self, key: PRNGKey, batch: int) -> "Dropped":
        """Draws which stories of a batch lose what."""
        context_key = rng.stream(key, "drop_context")
        text_key = rng.stream(key, "drop_text")
        return Dropped(
            context=jax.random.bernoulli(context_key, jnp.float32(self.context), (batch,)),
            text=jax.random.bernoulli(text_key, jnp.float32(self.text), (batch,)),
        )


@flax.struct.dataclass
class Dropped:
    """Which stories of a batch train without their context, and without their captions."""

    context: Bool[Array, "b"]
    text: Bool[Array, "b"]

    def apply(self, conditions: Conditions) -> Conditions:
        """The conditions that are left."""
        return drop_text(drop_context(conditions, self.context), self.text)
