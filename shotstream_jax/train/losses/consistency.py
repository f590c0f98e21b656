"""Stage 2 without pairs: causal consistency distillation (docs/method.md, section 4.2).

The student's x₀ prediction is a consistency function: it takes every point of the teacher's path
from noise to a shot to the path's end. σ_0 = 1 > σ_1 > … > σ_N = 0 are noise levels, every step of
the student cut into `pieces` of them, so that the student's own times are among them. For each
chunk n < N is drawn, and with the true chunks before it and the context as its past

    f(x, σ; θ) = x − σ·v̂(x, 1000·σ; θ)                       so that f(x, 0) = x             (1)
    x_n = (1 − σ_n)·x₀ + σ_n·ε                                                              (2)
    x̂   = x_n + (σ_{n+1} − σ_n)·v_teacher(x_n, 1000·σ_n)      one guided Euler step            (3)
    y   = stop(f(x̂, σ_{n+1}; θ⁻))                             θ⁻: the average of θ             (4)
    loss = mean(λ_n·(f(x_n, σ_n; θ) − y)²)                                                  (5)
    λ_n ∝ 1/(σ_n − σ_{n+1}), mean 1 over n                                                   (6)

(1)–(5) are consistency distillation (arXiv 2303.01469, algorithm 2) with flow matching's path and
parametrisation, the guided step of latent consistency (2310.04378, eq. 14) and its squared error;
(6) is that of 2310.14189, section 3.1: y − f and so the gradient shrinks with σ_n − σ_{n+1}, which
is 16 times as large at the clean end of the shifted schedule as at the noisy one.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Int, Params, typechecked
from shotstream_jax.core.values import number_between
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.forcing import Forced
from shotstream_jax.flow.schedule import TRAIN_TIMES, FewSteps, Schedule, lift, mix
from shotstream_jax.generate.sampler import Guidance
from shotstream_jax.train.losses.teacher_forcing import ForcingDraws, forced_velocity

# (x [b, f, h, w, c], σ [b, f]) → velocity [b, f, h, w, c]
FrameVelocity = Callable[[Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class ConsistencyConfig:
    """guidance: of the teacher's step. pieces: noise levels in each of the student's steps."""

    guidance: Guidance = dataclasses.field(default_factory=lambda: Guidance(text=2.0))
    pieces: int = 12

    def __post_init__(self) -> None:
        pieces = number_between(self.pieces, "consistency.pieces", 1, 100)
        object.__setattr__(self, "pieces", pieces)


class ConsistencyParams(NamedTuple):
    """Parameters of the student θ, of its average θ⁻, and of the autoregressive teacher."""

    student: Params
    average: Params
    teacher: Params


def noise_levels(steps: FewSteps, pieces: int) -> np.ndarray:
    """σ_0 … σ_N [N + 1] float32, eq. (1): N = pieces · the student's steps, σ_N = 0.

    Raises InputError if a step is too short for so many pieces.
    """
    # Entries of the training table at which a step begins; behind the last one is the clean end.
    first = [TRAIN_TIMES - nominal for nominal in steps.nominal]
    entries = first[:1]
    for start, stop in itertools.pairwise([*first, TRAIN_TIMES]):
        cut = np.round(np.linspace(start, stop, pieces + 1)).astype(int)
        entries.extend(cut[1:].tolist())
    sigmas = np.append(Schedule(TRAIN_TIMES, steps.shift).sigmas, np.float32(0))
    levels = sigmas[entries]
    if np.any(np.diff(levels) >= 0):
        raise InputError(
            f"consistency.pieces {pieces}: the student's steps {steps.nominal} are too short for "
            "so many; choose less"
        )
    return levels


def level_weights(levels: np.ndarray) -> np.ndarray:
    """λ_0 … λ_{N−1} [N] float32, eq. (6)."""
    inverse = 1 / -np.diff(levels.astype(np.float64))
    return (inverse / inverse.mean()).astype(np.float32)


@typechecked
def consistency_error(
    student: FrameVelocity,
    average: FrameVelocity,
    teacher: FrameVelocity,
    levels: np.ndarray,
    x_0: Float[Array, "b f h w c"],
    noise: Float[Array, "b f h w c"],
    entry: Int[Array, "b f"],
) -> Float[Array, ""]:
    """Eqs. (2)–(6) for three velocities.

    levels: σ_0 … σ_N. entry: n of each frame.
    """
    table = jnp.asarray(levels)
    sigma = table[entry]  # [b, f]
    following = table[entry + 1]
    # 1. The noised shot, and where the teacher's path goes on from it.
    x_n = mix(x_0, noise, lift(sigma, x_0))
    moved = x_n + lift(following - sigma, x_0) * teacher(x_n, sigma)
    # 2. The end of the path as it looks from there.
    target = moved - lift(following, x_0) * average(moved, following)
    target = jax.lax.stop_gradient(target)
    # 3. The student should see the same end from one step before.
    predicted = x_n - lift(sigma, x_0) * student(x_n, sigma)
    weight = lift(jnp.asarray(level_weights(levels))[entry], x_0)
    return jnp.mean(weight * jnp.square(predicted - target))


def consistency_loss(
    forced: Forced,
    steps: FewSteps,
    config: ConsistencyConfig,
    params: ConsistencyParams,
    target: Float[Array, "b f h w c"],
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    draws: ForcingDraws,
) -> Float[Array, ""]:
    """The loss of a batch of shots; the gradient goes to the student only.

    Args:
      forced: the causal network over true history, of all three.
      steps: the student's.
      config: guidance and noise levels.
      params: of the three networks.
      target: clean latents of the shots.
      conditions: of the shots.
      negative: the embedding of the negative prompt.
      draws: what is random; entries are of the noise levels but the last.
    """
    conditions = draws.dropped.apply(conditions)

    def velocity(params: Params, given: Conditions, x: Array, sigma: Array) -> Array:
        """Of every chunk behind the true ones before it."""
        return forced_velocity(forced, params, given, target, x, TRAIN_TIMES * sigma)

    def student(x: Array, sigma: Array) -> Array:
        """By θ."""
        return velocity(params.student, conditions, x, sigma)

    def average(x: Array, sigma: Array) -> Array:
        """By θ⁻."""
        return velocity(params.average, conditions, x, sigma)

    def teacher(x: Array, sigma: Array) -> Array:
        """By the teacher, guided."""

        def predict(given: Conditions) -> Array:
            """Under given conditions."""
            return velocity(params.teacher, given, x, sigma)

        return config.guidance.apply(predict, conditions, negative)

    levels = noise_levels(steps, config.pieces)
    entry = jnp.repeat(draws.entry, forced.memory.chunk, axis=1)  # [b, f]
    return consistency_error(student, average, teacher, levels, target, draws.noise, entry)
