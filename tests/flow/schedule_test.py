"""Identities of the schedule and the sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.flow.schedule import FewSteps, Schedule
from shotstream_jax.flow.solver import sample

X_0, NOISE = jax.random.normal(jax.random.key(0), (2, 3, 2, 4, 4, 5))
T = jnp.array([[900.0, 500.0], [3.0, 0.0], [7.0, 999.0]])


def test_conversions_are_inverse():
    schedule = Schedule()
    x_t = schedule.add_noise(X_0, NOISE, T)
    v = schedule.x0_to_velocity(X_0, x_t, T)
    np.testing.assert_allclose(v, NOISE - X_0, atol=2e-4)
    np.testing.assert_allclose(schedule.velocity_to_x0(v, x_t, T), X_0, atol=1e-5)


def test_weights_have_mean_one_and_vanish_at_an_end():
    weights = Schedule().weights
    assert weights.mean() == pytest.approx(1, abs=1e-6) and weights.min() == 0


def test_sampler_follows_a_straight_path_home():
    """With the true velocity ε − x₀ all Euler steps stay on the line, and the last ends at x₀."""
    schedule, keep = Schedule(8), (0, 3, 7)
    v = lambda x, t: NOISE - X_0  # noqa: E731
    x_0, kept = jax.jit(lambda n: sample(v, n, schedule, keep))(NOISE)
    np.testing.assert_allclose(x_0, X_0, atol=1e-5)
    for x, step in zip(kept, keep, strict=True):
        sigma = schedule.sigmas[step]
        np.testing.assert_allclose(x, (1 - sigma) * X_0 + sigma * NOISE, atol=1e-5)


@pytest.mark.parametrize("nominal", [(), (500, 740), (1001, 5), (10, 0), (5, 5)])
def test_impossible_steps_are_refused(nominal):
    with pytest.raises(InputError):
        FewSteps(nominal)
