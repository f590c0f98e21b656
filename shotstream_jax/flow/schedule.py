"""The flow-matching schedule (spec page 3).

    x_t = (1 − σ)·x₀ + σ·ε                                        (1)
    v   = ε − x₀                                                  (2)
    x₀  = x_t − σ·v          v = (x_t − x₀)/σ                     (3)
    σ   ← s·σ/(1 + (s − 1)·σ) on n equal steps from 1 to 0, end left out   (4)
    t   = 1000·σ                                                  (5)
    weight(t) ∝ exp(−2·((t − 500)/1000)²), minimum subtracted, mean 1      (6)

A given t is looked up at the nearest table time for σ and for the weight only; the network receives t itself.
The table is made once, in numpy; lookups are jittable.
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
    """A shifted table of `steps` noise levels, largest first."""

    steps: int = TRAIN_TIMES
    shift: float = 8.0

    @functools.cached_property
    def sigmas(self) -> np.ndarray:
        """[steps] float32, eq. (4), to the last bit the table that the public checkpoints were trained with.

        There a step is the float32 of 1/n, each half of the range counts from its own end, and all is rounded once.
        """
        i, step = np.arange(self.steps), float(np.float32(1) / np.float32(self.steps))
        base = np.where(i < (self.steps + 1) // 2, 1 - step * i, step * (self.steps - i)).astype(
            np.float32
        )
        shift = np.float32(self.shift)
        return shift * base / (1 + (shift - 1) * base)

    @functools.cached_property
    def times(self) -> np.ndarray:
        """[steps] float32, eq. (5)."""
        return self.sigmas * np.float32(TRAIN_TIMES)

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """[steps] float32, eq. (6)."""
        bell = np.exp(-2 * ((self.times.astype(np.float64) - TRAIN_TIMES / 2) / TRAIN_TIMES) ** 2)
        bell = bell - bell.min()
        return (bell * (self.steps / bell.sum())).astype(np.float32)

    @typechecked
    def index(self, t: Float[AnyArray, "*dims"]) -> Int[Array, "*dims"]:
        """The nearest table entry of each t; the first (noisier) of two equally near ones."""
        return jnp.argmin(
            jnp.abs(
                jnp.asarray(t)[..., None]
                - jnp.asarray(self.times).reshape((1,) * jnp.ndim(t) + (-1,))
            ),
            -1,
        )

    def sigma(self, t: AnyArray) -> Array:
        """σ at the nearest table time: any shape → the same shape."""
        return jnp.asarray(self.sigmas)[self.index(t)]

    def weight(self, t: AnyArray) -> Array:
        """The training weight at the nearest table time, eq. (6)."""
        return jnp.asarray(self.weights)[self.index(t)]

    def add_noise(self, x_0: AnyArray, noise: AnyArray, t: AnyArray) -> Array:
        """Eq. (1). t has x_0's leading dimensions ([b] or [b, f])."""
        return mix(x_0, noise, lift(self.sigma(t), x_0))

    def velocity_to_x0(self, v: AnyArray, x_t: AnyArray, t: AnyArray) -> Array:
        """Eq. (3), left."""
        return x_t - lift(self.sigma(t), x_t) * v

    def x0_to_velocity(self, x_0: AnyArray, x_t: AnyArray, t: AnyArray) -> Array:
        """Eq. (3), right. The smallest σ of the table is above 0, so t = 0 is finite."""
        return (x_t - x_0) / lift(self.sigma(t), x_t)

    def next_sigma(self, t: AnyArray) -> Array:
        """σ of the table entry after t's; 0 after the last, for each item on its own."""
        return jnp.append(jnp.asarray(self.sigmas), 0.0)[self.index(t) + 1]

    def euler_step(self, v: AnyArray, t: AnyArray, x_t: AnyArray) -> Array:
        """x + v·(σ_next − σ)."""
        return x_t + v * lift(self.next_sigma(t) - self.sigma(t), x_t)


def mix(x_0: AnyArray, noise: AnyArray, sigma: AnyArray) -> Array:
    """Eq. (1) with σ given."""
    return (1 - sigma) * x_0 + sigma * noise


def lift(a: AnyArray, like: AnyArray) -> Array:
    """Appends axes of length 1 until `a` has the rank of `like`."""
    return jnp.reshape(a, jnp.shape(a) + (1,) * (jnp.ndim(like) - jnp.ndim(a)))


@dataclasses.dataclass(frozen=True)
class FewSteps:
    """The few-step student's nominal times, mapped through the shifted table.

    Worked example: nominal 740 is entry 1000 − 740 = 260 of the table, t ≈ 957.9.
    """

    nominal: tuple[int, ...] = (1000, 740, 500, 260)
    shift: float = 8.0

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in itertools.pairwise(self.nominal))
        if not self.nominal or not falling or self.nominal[0] > TRAIN_TIMES or self.nominal[-1] < 1:
            raise InputError(
                f"student steps {self.nominal} must fall from at most {TRAIN_TIMES} to at least 1"
            )

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """(t, σ) of every step, float32."""
        schedule, index = Schedule(TRAIN_TIMES, self.shift), TRAIN_TIMES - np.asarray(self.nominal)
        return schedule.times[index], schedule.sigmas[index]
