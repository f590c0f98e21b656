"""How like the next shot the remembered ones are, by captions or by keys (memory/choose).

Pure functions of the model, the shots and the new caption. What they are made of is kept beside the
model as long as it may be of use again.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core import rng
from shotstream_jax.core.sharding import to_device_of
from shotstream_jax.core.typing import AnyArray, Array, Float, Params
from shotstream_jax.dit.describe import Describer
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.conditions import Told
from shotstream_jax.generate.record import ShotRecord
from shotstream_jax.generate.story import Story
from shotstream_jax.memory.choose import likeness
from shotstream_jax.model import Model
from shotstream_jax.nn.apply import apply
from shotstream_jax.text.encode import embed_prompt
from shotstream_jax.text.prompts import shot_prompt


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


def caption_likeness(model: Model, story: Story, caption: str) -> Float[np.ndarray, "m"]:
    """How like the next shot's caption that of each remembered shot is. Waits for the encoder."""
    told = [Told(record.number, record.caption) for record in story.shots]
    earlier = np.stack([_meaning(model, story, of_shot) for of_shot in told])
    return likeness(earlier, _meaning(model, story, Told(story.next_shot, caption)))


def _meaning(model: Model, story: Story, told: Told) -> Float[np.ndarray, "e"]:
    """The mean of a shot's embedding over its tokens, but for a factor: behind them it is zero."""
    prompt = shot_prompt(story.global_caption, told.shot, told.caption)

    def mean() -> np.ndarray:
        """On the host, where shots are chosen."""
        text = shot_embedding(model, story, told)
        return np.asarray(jnp.mean(text[0], axis=0, dtype=jnp.float32))

    return model.meanings.get(prompt, mean)


def key_likeness(model: Model, story: Story, caption: str) -> Float[np.ndarray, "m"]:
    """How well each remembered shot's first kept frame serves the next shot's caption.

    The product of the frame's mean keys and of the mean queries of noise under the caption
    (dit/describe), without adapters. Waits for the transformer.
    """
    keys = np.stack([_frame_keys(model, story, record) for record in story.shots])  # [m, d]
    # The same noise for all shots and stories: one frame for each context frame.
    frames = story.context
    shape = (1, frames, 1, *model.preset.latent_grid(story.video), model.preset.dit.channels)
    noise = steps.draw_noise(rng.seed_key(0), 0, 0, 0, shape)[0, :, 0]
    times = jnp.full(frames, model.preset.steps.table[0][0], jnp.float32)
    text = shot_embedding(model, story, Told(story.next_shot, caption))
    queries, _ = _describe(model, noise, times, jnp.repeat(text, frames, axis=0))
    return keys @ np.asarray(queries).mean(axis=0)


def _frame_keys(model: Model, story: Story, record: ShotRecord) -> Float[np.ndarray, "d"]:
    """The mean keys of a shot's first kept frame, made once for each record that lives."""
    told = Told(record.number, record.caption)
    prompt = shot_prompt(story.global_caption, *told)
    # Records may go from a story into one with other words.
    known = model.frame_keys.get(record)
    if known is None or known[0] != prompt:
        text = shot_embedding(model, story, told)
        # By itself, so that it is the same to the bit whichever frames are described with it.
        _, keys = _describe(model, record.latents[0], jnp.zeros(1), text)
        known = (prompt, np.asarray(keys)[0])
        model.frame_keys[record] = known
    return known[1]


def _describe(model: Model, frames: AnyArray, t: Array, text: Array) -> tuple[Array, Array]:
    """Mean queries and keys [b, d] of frames [b, h, w, c]."""
    params = model.params["dit"]
    inputs = to_device_of(params, (frames, t, text))
    with model.on_mesh():
        return _describe_frames(model.describer, params, *inputs)


@functools.partial(jax.jit, static_argnames="describer")
def _describe_frames(
    describer: Describer, params: Params, frames: Array, t: Array, text: Array
) -> tuple[Array, Array]:
    return apply(describer, params, frames, t, text)
