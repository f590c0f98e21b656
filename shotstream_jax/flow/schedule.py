"""The flow-matching schedule (docs/method.md, section 3).

    x_t = (1 − σ)·x₀ + σ·ε                                        (1)
    v   = ε − x₀                                                  (2)
    x₀  = x_t − σ·v          v = (x_t − x₀)/σ                     (3)
    σ   ← s·σ/(1 + (s − 1)·σ) on n equal steps from 1 to 0, end left out   (4)
    t   = 1000·σ                                                  (5)
    weight(t) ∝ exp(−2·((t − 500)/1000)²), minimum subtracted, mean 1      (6)

A given t is looked up at the nearest table time for σ and for the weight only; the network receives
t itself. The table is made once, in numpy; lookups are jittable.
"""

import dataclasses
import functools
import itertools

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import AnyArray, Array, Float, Int, typechecked

TRAIN_TIMES = 1000  # t runs from 0 to 1000, and the training table has as many entries


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A shifted table of `steps` noise levels, largest first. shift: s of eq. (4).

    Raises InputError if there is no step.
    """

    steps: int = TRAIN_TIMES
    shift: float = 8.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"a schedule of {self.steps} steps must have at least 1")

    @functools.cached_property
    def sigmas(self) -> np.ndarray:
        """[steps] float32, eq. (4).

        To the last bit the table that the public checkpoints were trained with. There a step is the
        float32 of 1/n, each half of the range counts from its own end, and all is rounded once.
        """
        entry = np.arange(self.steps)
        step = float(np.float32(1) / np.float32(self.steps))
        # Equal steps from 1 down, before the shift.
        from_start = 1 - step * entry
        from_end = step * (self.steps - entry)
        first_half = entry < (self.steps + 1) // 2
        linear = np.where(first_half, from_start, from_end).astype(np.float32)
        # The shift keeps σ = 1 and moves all others towards it.
        shift = np.float32(self.shift)
        stretch = 1 + (shift - 1) * linear
        return shift * linear / stretch

    @functools.cached_property
    def times(self) -> np.ndarray:
        """[steps] float32, eq. (5)."""
        return self.sigmas * np.float32(TRAIN_TIMES)

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """[steps] float32, eq. (6)."""
        times = self.times.astype(np.float64)
        from_middle = (times - TRAIN_TIMES / 2) / TRAIN_TIMES
        # A bell around t = 500, down to 0 at the end that is farther away.
        bell = np.exp(-2 * from_middle**2)
        bell = bell - bell.min()
        # Scaled to a mean of 1.
        scale = self.steps / bell.sum()
        weights = bell * scale
        return weights.astype(np.float32)

    @typechecked
    def index(self, t: Float[AnyArray, "*dims"]) -> Int[Array, "*dims"]:
        """The nearest table entry of each t; the first (noisier) of two equally near ones."""
        # Every t against every table time: [*dims, 1] − [1, …, 1, steps].
        given = jnp.asarray(t)[..., None]
        ones = (1,) * jnp.ndim(t)
        table = jnp.asarray(self.times).reshape(*ones, -1)
        distance = jnp.abs(given - table)
        return jnp.argmin(distance, -1)

    def sigma(self, t: AnyArray) -> Array:
        """σ at the nearest table time: any shape → the same shape."""
        return jnp.asarray(self.sigmas)[self.index(t)]

    def weight(self, t: AnyArray) -> Array:
        """The training weight at the nearest table time, eq. (6)."""
        return jnp.asarray(self.weights)[self.index(t)]

    def add_noise(
        self,
        x_0: AnyArray,
        noise: AnyArray,
        t: AnyArray,
    ) -> Array:
        """Eq. (1). t has x_0's leading dimensions ([b] or [b, f])."""
        # σ a story (or a frame), for all its pixels.
        sigma = lift(self.sigma(t), x_0)
        return mix(x_0, noise, sigma)

    def velocity_to_x0(
        self,
        v: AnyArray,
        x_t: AnyArray,
        t: AnyArray,
    ) -> Array:
        """Eq. (3), left."""
        sigma = lift(self.sigma(t), x_t)
        return jnp.asarray(x_t - sigma * v)

    def x0_to_velocity(
        self,
        x_0: AnyArray,
        x_t: AnyArray,
        t: AnyArray,
    ) -> Array:
        """Eq. (3), right. The smallest σ of the table is above 0, so t = 0 is finite."""
        difference = jnp.asarray(x_t - x_0)
        return difference / lift(self.sigma(t), x_t)

    def next_sigma(self, t: AnyArray) -> Array:
        """σ of the table entry after t's; 0 after the last, for each item on its own."""
        # After the last entry comes the clean end of the path.
        with_end = jnp.append(jnp.asarray(self.sigmas), 0.0)
        return with_end[self.index(t) + 1]

    def euler_step(
        self,
        v: AnyArray,
        t: AnyArray,
        x_t: AnyArray,
    ) -> Array:
        """x + v·(σ_next − σ)."""
        step = self.next_sigma(t) - self.sigma(t)
        return jnp.asarray(x_t + v * lift(step, x_t))


def mix(
    x_0: AnyArray,
    noise: AnyArray,
    sigma: AnyArray,
) -> Array:
    """Eq. (1) with σ given, of x_0's rank."""
    return jnp.asarray((1 - sigma) * x_0 + sigma * noise)


def lift(a: AnyArray, like: AnyArray) -> Array:
    """Appends axes of length 1 until `a` has the rank of `like`."""
    missing = jnp.ndim(like) - jnp.ndim(a)
    return jnp.reshape(a, jnp.shape(a) + (1,) * missing)


@dataclasses.dataclass(frozen=True)
class FewSteps:
    """The few-step student's nominal times, mapped through the shifted table.

    Worked example: nominal 740 is entry 1000 − 740 = 260 of the table, t ≈ 957.9.

    Raises InputError if the times do not fall, or lie outside of 1 … 1000.
    """

    nominal: tuple[int, ...] = (1000, 740, 500, 260)
    shift: float = 8.0

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in itertools.pairwise(self.nominal))
        in_range = all(1 <= time <= TRAIN_TIMES for time in self.nominal)
        if not (self.nominal and falling and in_range):
            raise InputError(
                f"student steps {self.nominal} must fall from at most {TRAIN_TIMES} to at least 1"
            )

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """(t, σ) of every step, float32."""
        schedule = Schedule(TRAIN_TIMES, self.shift)
        # Entry 0 of the table is time 1000.
        index = TRAIN_TIMES - np.asarray(self.nominal)
        return schedule.times[index], schedule.sigmas[index]
