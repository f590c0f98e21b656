"""What a training step sees: shots, and what each is conditioned on. The batch is every array's first dimension."""

import flax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array, Bool, Float, typechecked
from shotstream_jax.memory.cache import FrameIds


@flax.struct.dataclass
class Conditions:
    """What the model is told about a shot.

    context: clean latents of C frames of earlier shots (zeros before the first one). ids: those frames', and in the
    last column the shot's own. text: a prompt's embedding in every slot that the ids name.
    """

    context: Float[Array, "b c_frames h w c"]
    ids: FrameIds
    text: Float[Array, "b slots l e"]

    def frame_ids(self, frames: int) -> FrameIds:
        """Ids of [context, shot of so many frames]."""
        return FrameIds(*(_spread(a, frames) for a in (self.ids.phase, self.ids.caption)))

    def context_ids(self) -> FrameIds:
        return FrameIds(self.ids.phase[:, :-1], self.ids.caption[:, :-1])

    def shot_ids(self, frames: int) -> FrameIds:
        return FrameIds(
            *(jnp.repeat(a[:, -1:], frames, axis=1) for a in (self.ids.phase, self.ids.caption))
        )

    def under_one_prompt(self, text: Float[Array, "1 l e"]) -> "Conditions":
        """The same shot and context, all frames under one prompt (the negative one)."""
        slots = jnp.broadcast_to(text[None], (self.context.shape[0], *text.shape))
        return self.replace(
            ids=self.ids.replace(caption=jnp.zeros_like(self.ids.caption)), text=slots
        )

    def without_context(self) -> "Conditions":
        """Each shot as a first one, under its own prompt."""
        return drop_context(self, jnp.ones(self.context.shape[0], bool))


@flax.struct.dataclass
class Batch:
    """Latents of the target shots, and their conditions."""

    target: Float[Array, "b f h w c"]
    conditions: Conditions


@typechecked
def drop_context(conditions: Conditions, drop: Bool[Array, "b"]) -> Conditions:
    """Where `drop`, the context is zeros of shot 0 that read caption 0, as before a first shot, and the shot is shot 1;
    it keeps its own caption (spec: quirks)."""
    keep = ~drop
    context = conditions.context * keep[:, None, None, None, None]
    phase, caption = conditions.ids.phase, conditions.ids.caption
    shot = jnp.where(drop, 1, phase[:, -1])[:, None]
    phase = jnp.concatenate([phase[:, :-1] * keep[:, None], shot], axis=1)
    caption = jnp.concatenate([caption[:, :-1] * keep[:, None], caption[:, -1:]], axis=1)
    return conditions.replace(context=context, ids=FrameIds(phase, caption))


@typechecked
def drop_text(conditions: Conditions, drop: Bool[Array, "b"]) -> Conditions:
    """Where `drop`, the embeddings are zeros; they still pass the text MLP."""
    return conditions.replace(text=conditions.text * ~drop[:, None, None, None])


def _spread(ids: Array, frames: int) -> Array:
    return jnp.concatenate([ids[:, :-1], jnp.repeat(ids[:, -1:], frames, axis=1)], axis=1)
