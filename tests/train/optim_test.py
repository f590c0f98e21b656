"""The rate of learning over the steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.train.optim import OptimConfig, make_optimizer


@pytest.mark.parametrize(
    "fields, rates",
    [
        ({}, [0.8] * 6),
        ({"warmup_steps": 4}, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]),
        ({"decay": True}, [0.8, 0.68284, 0.4, 0.11716, 0, 0]),
        ({"warmup_steps": 2, "decay": True, "b1": 0.5}, [0.4, 0.68284, 0.4, 0.11716, 0, 0]),
    ],
)
def test_rates_rise_and_fall(fields, rates):
    """A gradient that is always the same moves a weight by the rate."""
    optimizer = make_optimizer(OptimConfig(lr=0.8, clip=10.0, weight_decay=0.0, **fields), steps=4)
    params = {"w": jnp.zeros(3)}
    state, moved = optimizer.init(params), []
    for _ in rates:
        updates, state = optimizer.update({"w": jnp.full(3, 2.0)}, state, params)
        moved.append(-float(updates["w"][0]))
    np.testing.assert_allclose(moved, rates, atol=1e-5)


def test_what_is_no_optimiser():
    with pytest.raises(InputError, match="warmup_steps ≥ 0"):
        OptimConfig(lr=1.0, clip=1.0, warmup_steps=-1)
