"""The conditions of a story's next shot, from what the story remembers."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import AnyArray, Array
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.presets import Preset


def next_shot_conditions(preset: Preset, story: Story, texts: Sequence[Array]) -> Conditions:
    """Conditions of the next shot for one story (batch 1).

    texts: the embeddings [1, l, e] of the remembered shots' prompts and of the next one's.
    """
    plan = story.plan_next()
    # Context latents: [1, C, h, w, c].
    if story.shots:
        latents = []
        for shot, frame in zip(plan.shots, plan.frames, strict=True):
            latents.append(_kept_latent(story, int(shot), int(frame)))
        context = jnp.stack(latents, axis=1)
    else:
        grid = preset.latent_grid(story.video)
        context = jnp.zeros((1, preset.memory.context, *grid, preset.dit.channels))
    # Captions in their slots, [1, C + 1, l, e]: the remembered shots', the next one's, empty slots.
    captions = list(texts)
    empty = preset.memory.captions - len(captions)
    captions.extend([jnp.zeros_like(texts[0])] * empty)
    # The plan's numbers with a batch of one, [1, C + 1].
    ids = FrameIds(
        phase=jnp.asarray(plan.phase[None], jnp.int32),
        caption=jnp.asarray(plan.caption[None], jnp.int32),
    )
    return Conditions(context, ids, jnp.stack(captions, axis=1))


def _kept_latent(story: Story, shot: int, frame: int) -> AnyArray:
    """The latent [1, h, w, c] of a kept frame; a story keeps every frame that can be picked."""
    record = story.shots[shot - story.shots[0].number]
    position = np.flatnonzero(record.frames == frame)[0]
    return record.latents[int(position)]
