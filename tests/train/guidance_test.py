"""Guidance by the prompt and by the memory, on a prediction that can be reckoned by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.data.batch import Conditions
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.train.flow_matching import Guidance

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
        (Guidance(2.0), [352 + 2 * 1.5, 102 + 2 * 1.5]),
        # Without its memory the third shot is the first one, and says 102.
        (Guidance(2.0, context=0.1), [352 + 3 + 0.1 * 250, 102 + 3]),
    ],
)
def test_guidance_moves_away_from_what_knows_less(guidance, expected):
    np.testing.assert_allclose(guidance.apply(predict, CONDITIONS, NEGATIVE), expected, rtol=1e-6)
