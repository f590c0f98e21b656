"""The teacher's sampler: Euler steps along the shifted schedule (docs/method.md, section 3)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.flow.schedule import Schedule

# (x_t [b, f, h, w, c], t [b]) → velocity [b, f, h, w, c]
Velocity = Callable[[Array, Array], Array]
_Carry = tuple[Array, Array]  # x and the kept inputs


@typechecked
def sample(
    velocity: Velocity,
    noise: Float[Array, "b f h w c"],
    schedule: Schedule,
    keep: tuple[int, ...] = (),
) -> tuple[Float[Array, "b f h w c"], Float[Array, "k b f h w c"]]:
    """Integrates noise to a clean latent.

    Args:
        velocity: the model's velocity at (x_t, t).
        noise: x at the schedule's first time.
        schedule: one Euler step for each of its times.
        keep: numbers of steps whose inputs are wanted: the causal initialisation is trained on
            those.

    Returns:
        x₀, and the inputs of the steps in `keep`, in that order.
    """
    # Where each step's input is stored. One slot more than is kept takes the inputs that nobody
    # asked for.
    slots = np.full(schedule.steps, len(keep))
    slots[list(keep)] = np.arange(len(keep))
    kept = jnp.zeros((len(keep) + 1, *noise.shape), noise.dtype)
    # How far σ moves in each step; the last one ends at σ = 0.
    deltas = np.diff(schedule.sigmas, append=np.float32(0))

    def step(carry: _Carry, entry: tuple[Array, Array, Array]) -> tuple[_Carry, None]:
        """One Euler step, x + v·(σ_next − σ)."""
        x, kept = carry
        time, delta, slot = entry
        # All stories share the time.
        t = jnp.full(x.shape[:1], time)
        moved = x + delta * velocity(x, t)
        kept = kept.at[slot].set(x)
        return (moved, kept), None

    steps = (
        jnp.asarray(schedule.times),
        jnp.asarray(deltas),
        jnp.asarray(slots),
    )
    (x_0, kept), _ = jax.lax.scan(step, (noise, kept), steps)
    return x_0, kept[:-1]
