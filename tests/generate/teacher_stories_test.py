"""A teacher's stories: the sampler of the students' trajectories, on the history made before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core import rng
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.generate.progress import begin_shot
from shotstream_jax.generate.sampler import Guidance, SamplerConfig, sample_trajectory
from shotstream_jax.generate.stream import Chunk, new_story
from shotstream_jax.generate.teacher_stories import teacher_stories
from shotstream_jax.model import Model
from shotstream_jax.testing import tiny_model

STEPS, GUIDANCE = 50, Guidance(1.0, context=0.5)
STORIES = (
    ("A tale.", 5, ["a frog", "a bear", "the frog"]),
    ("A joke.", 6, ["a robot", "it sleeps"]),
)


@pytest.fixture(scope="module")
def model() -> Model:
    """One whose velocity depends on all inputs: a fresh head is zero, fresh text hardly counts."""
    model = tiny_model()
    keys = iter(jax.random.split(jax.random.key(1), 100))
    model.params["dit"] = jax.tree.map(
        lambda a: a + 0.2 * jax.random.normal(next(keys), a.shape), model.params["dit"]
    )
    return model


def told(model: Model, *stories: tuple[str, int, list[str]]) -> list[list[Chunk]]:
    """The chunks of each story."""
    found = [[] for _ in stories]
    asked = [(new_story(model, tale, seed), shots) for tale, seed, shots in stories]
    for row, chunk in teacher_stories(model, asked, SamplerConfig(STEPS, GUIDANCE)):
        found[row].append(chunk)
    return found


@pytest.fixture(scope="module")
def together(model: Model) -> list[list[Chunk]]:
    return told(model, *STORIES)


def test_every_story_has_its_shots_in_order(model, together):
    chunks = model.preset.video.shot_frames // model.preset.memory.chunk
    for (_, _, shots), made in zip(STORIES, together, strict=True):
        assert [(c.shot, c.chunk) for c in made] == [
            (s, c) for s in range(len(shots)) for c in range(chunks)
        ]
        assert made[-1].story.next_shot == len(shots)


def test_a_later_shot_is_the_trajectory_on_its_own_history(model, together):
    made = [c for c in together[0] if c.shot == 2]
    before = next(c.story for c in together[0] if c.shot == 1 and c.story)
    conditions = begin_shot(model, before, made[-1].story.shots[-1].caption).conditions
    latents = jnp.concatenate([c.latents for c in made])[None]
    noise = jax.random.normal(rng.stream(jax.random.key(5), "teacher", 2), latents.shape)
    fixed = Teacher(model.preset.dit), Schedule(STEPS, model.preset.steps.shift), model.preset.steps
    negative = jnp.zeros(conditions.text.shape[-2:])[None]
    expected = sample_trajectory(
        *fixed, model.params["dit"], conditions, negative, noise, GUIDANCE
    )[:, -1]
    np.testing.assert_allclose(latents, expected, atol=1e-3 * float(jnp.abs(expected).max()))
    other = sample_trajectory(
        *fixed,
        model.params["dit"],
        conditions.replace(context=0 * conditions.context),
        negative,
        noise,
        GUIDANCE,
    )
    assert float(jnp.abs(other[:, -1] - latents).max()) > 0.01 * float(jnp.abs(expected).max())


def test_side_by_side_is_alone(model, together):
    (alone,) = told(model, STORIES[0])
    for a, b in zip(alone, together[0], strict=True):
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 2
