"""The teacher's sampler: Euler steps along the shifted schedule (spec page 3)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.flow.schedule import Schedule

# (x_t [b, f, h, w, c], t [b]) → velocity [b, f, h, w, c]
Velocity = Callable[[Array, Array], Array]


@typechecked
def sample(
    velocity: Velocity,
    noise: Float[Array, "b f h w c"],
    schedule: Schedule,
    keep: tuple[int, ...] = (),
) -> tuple[Float[Array, "b f h w c"], Float[Array, "k b f h w c"]]:
    """Integrates noise to a clean latent.

    Returns (x₀, the inputs of the steps in `keep`): the causal initialisation is trained on those.
    """
    slots = np.full(schedule.steps, len(keep))
    slots[list(keep)] = np.arange(len(keep))
    deltas = np.diff(schedule.sigmas, append=np.float32(0))

    def step(
        carry: tuple[Array, Array], at: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        (x, kept), (t, delta, slot) = carry, at
        t = jnp.full(x.shape[:1], t)
        return (x + delta * velocity(x, t), kept.at[slot].set(x)), None

    # One slot more than is kept takes what nobody asked for.
    kept = jnp.zeros((len(keep) + 1, *noise.shape), noise.dtype)
    (x_0, kept), _ = jax.lax.scan(step, (noise, kept), (schedule.times, deltas, slots))
    return x_0, kept[:-1]
