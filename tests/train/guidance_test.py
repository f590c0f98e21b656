"""Guidance by the prompt and by the memory, on a prediction that can be reckoned by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.flow.schedule import Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.generate.sampler import Guidance
from shotstream_jax.memory.cache import FrameIds

# Two stories, the second at its first shot: nothing is remembered there.
CONDITIONS = Conditions(
    context=jnp.stack([jnp.full((2, 1, 1, 1), 5.0), jnp.zeros((2, 1, 1, 1))]),
    ids=FrameIds(jnp.array([[1, 2, 3], [0, 0, 1]]), jnp.array([[0, 1, 2], [0, 0, 0]])),
    text=jnp.full((2, 3, 1, 1), 2.0),
)
NEGATIVE = jnp.full((1, 1, 1), 0.5)


def predict(conditions: Conditions) -> jnp.ndarray:
    """100 a shot, 10 times the memory and what the shot's own prompt says."""
    row = jnp.arange(2)
    own = conditions.text[row, conditions.ids.caption[:, -1], 0, 0]
    return 100.0 * conditions.ids.phase[:, -1] + 10 * conditions.context.mean((1, 2, 3, 4)) + own


@pytest.mark.parametrize(
    "guidance, expected",
    [
        (Guidance(0.0), [352.0, 102.0]),
        (Guidance(text=5.0), [350.5 + 6 * 1.5, 100.5 + 6 * 1.5]),
        (Guidance(2.0), [352 + 2 * 1.5, 102 + 2 * 1.5]),
        # Without its memory the third shot is the first one, and says 102.
        (Guidance(2.0, context=0.1), [352 + 3 + 0.1 * 250, 102 + 3]),
    ],
)
def test_guidance_moves_away_from_what_knows_less(guidance, expected):
    np.testing.assert_allclose(guidance.apply(predict, CONDITIONS, NEGATIVE), expected, rtol=1e-6)


def test_the_sampler_takes_it():
    """Integrating a velocity from σ = 1 to 0 subtracts it.

    The velocity is 1 with the prompt and 0 with the negative prompt, so guidance w makes it 1 + w.
    """
    guidance, noise = Guidance(text=1.0), jnp.full((2, 3, 2, 2, 1), 5.0)
    told = lambda c: (c.text[:, :1, :1, :1, None] == 2.0) * jnp.ones_like(noise)  # noqa: E731
    x_0, _ = sample(lambda x, t: guidance.apply(told, CONDITIONS, NEGATIVE), noise, Schedule(2))
    np.testing.assert_allclose(x_0, noise - 2.0, atol=1e-6)
