"""Which frames of earlier shots the next shot remembers, by the rule that it or its story names."""

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array, Float
from shotstream_jax.generate.asked import Shot
from shotstream_jax.generate.conditions import Told
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.choose import PAPER, choose_shots, likeness, pick_among
from shotstream_jax.memory.select import ContextPick, make_room
from shotstream_jax.model import Model
from shotstream_jax.text.encode import embed_prompt
from shotstream_jax.text.prompts import shot_prompt


def remembered_frames(model: Model, story: Story, shot: Shot) -> ContextPick:
    """The context frames of the story's next shot beside its pins; nothing counts in a first one.

    By the paper's rule nothing is computed. By another one the text encoder is waited for.
    """
    rule = shot.memory or story.memory
    places = story.context - len(shot.pins)
    # With no more shots than context frames there is nothing to choose.
    if rule == PAPER or len(story.shots) <= story.context or places == 0:
        plan = story.plan_next()
        return make_room(ContextPick(plan.frames, plan.shots), len(shot.pins))
    # How like the new caption those of the remembered shots are …
    told = [Told(record.number, record.caption) for record in story.shots]
    earlier = np.stack([_meaning(model, story, of_shot) for of_shot in told])
    alike = likeness(earlier, _meaning(model, story, Told(story.next_shot, shot.caption)))
    # … and of the most alike the frames that the paper's rule picks.
    chosen = [story.shots[position] for position in choose_shots(alike, places)]
    intervals = [(record.first_frame, record.stop_frame) for record in chosen]
    return pick_among(intervals, [record.number for record in chosen], places)


def shot_embedding(model: Model, story: Story, told: Told) -> Float[Array, "1 l e"]:
    """The embedding of a shot's prompt, of the last ones that the model keeps or anew."""
    prompt = shot_prompt(story.global_caption, told.shot, told.caption)

    def encode() -> Array:
        """As the text encoder embeds it."""
        params = model.params["text"]
        length = model.preset.dit.text_len
        with model.on_mesh("text"):
            _, text = embed_prompt(model.text, params, model.tokenizer, prompt, length)
        return text

    return model.embeddings.get(prompt, encode)


def _meaning(model: Model, story: Story, told: Told) -> Float[np.ndarray, "e"]:
    """The mean of a shot's embedding over its tokens, but for a factor: behind them it is zero."""
    prompt = shot_prompt(story.global_caption, told.shot, told.caption)

    def mean() -> np.ndarray:
        """On the host, where shots are chosen."""
        text = shot_embedding(model, story, told)
        return np.asarray(jnp.mean(text[0], axis=0, dtype=jnp.float32))

    return model.meanings.get(prompt, mean)
