"""The teacher's sampler: guided Euler steps from noise to a whole shot (docs/method.md, section 3).

A prediction v (a velocity, or x₀) is moved away from predictions that know less:

    v + text·(v − v under the negative prompt) + context·(v − v without the earlier shots)      (1)

Both weights count from v, so 0 means no guidance and costs no pass. The usual guidance scale w of
v_neg + w·(v − v_neg) is text + 1: the reference samples with w = 6, which is text = 5 here, and
distils with text = 3. Context guidance is ours; the paper has none.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Params, typechecked
from shotstream_jax.core.values import number_between
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import TRAIN_TIMES, FewSteps, Schedule
from shotstream_jax.flow.solver import Velocity, sample
from shotstream_jax.nn.apply import apply


@dataclasses.dataclass(frozen=True)
class Guidance:
    """The weights of eq. (1); 0 for none."""

    text: float = 5.0
    context: float = 0.0

    def apply(
        self,
        predict: Callable[[Conditions], Array],
        conditions: Conditions,
        negative: Float[Array, "1 l e"],
    ) -> Array:
        """Eq. (1).

        predict: the prediction for a shot under given conditions, velocity or x₀.
        negative: the embedding of the negative prompt.
        """
        v = predict(conditions)
        under_negative = predict(conditions.under_one_prompt(negative))
        guided = v + self.text * (v - under_negative)
        if self.context == 0:
            return guided
        without_context = predict(conditions.without_context())
        return guided + self.context * (v - without_context)


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """How a teacher makes a shot. steps: of the Euler sampler, from noise to x₀."""

    steps: int = 50
    guidance: Guidance = dataclasses.field(default_factory=Guidance)

    def __post_init__(self) -> None:
        steps = number_between(self.steps, "sampler steps", 1, 10**6)
        object.__setattr__(self, "steps", steps)


@typechecked
def shot_velocity(
    teacher: Teacher,
    params: Params,
    conditions: Conditions,
    x_t: Float[Array, "b f h w c"],
    t: Float[Array, "b"],
) -> Float[Array, "b f h w c"]:
    """The bidirectional network's velocity of a shot's frames.

    The network sees [context, x_t] as one sequence; the context has the shot's t too.
    """
    # The context in front of the noisy shot, one sequence of frames.
    ids = conditions.frame_ids(x_t.shape[1])
    x = jnp.concatenate([conditions.context, x_t], axis=1)  # [b, C + f, h, w, c]
    velocity = apply(teacher, params, x, t, ids, conditions.text)
    return velocity[:, conditions.context.shape[1] :]


def guided_velocity(
    teacher: Teacher,
    params: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    guidance: Guidance,
) -> Velocity:
    """The velocity under eq. (1), as the solver wants it."""

    def velocity(x_t: Array, t: Array) -> Array:
        """The guided velocity at x_t."""

        def predict(given: Conditions) -> Array:
            """The velocity under given conditions."""
            return shot_velocity(teacher, params, given, x_t, t)

        return guidance.apply(predict, conditions, negative)

    return velocity


@typechecked
def sample_shot(
    teacher: Teacher,
    schedule: Schedule,
    params: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    noise: Float[Array, "b f h w c"],
    guidance: Guidance,
) -> Float[Array, "b f h w c"]:
    """A shot's clean latents. schedule: has the sampler's number of steps."""
    velocity = guided_velocity(teacher, params, conditions, negative, guidance)
    x_0, _ = sample(velocity, noise, schedule)
    return x_0


@typechecked
def sample_trajectory(
    teacher: Teacher,
    schedule: Schedule,
    steps: FewSteps,
    params: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    noise: Float[Array, "b f h w c"],
    guidance: Guidance,
) -> Float[Array, "b kept f h w c"]:
    """The sampler's inputs at the student's times, then its x₀: the pairs of stage 2."""
    velocity = guided_velocity(teacher, params, conditions, negative, guidance)
    x_0, kept = sample(velocity, noise, schedule, kept_steps(schedule, steps))
    # The student's five points of the way from noise to x₀.
    points = jnp.concatenate([kept, x_0[None]])  # [kept, b, f, h, w, c]
    return jnp.moveaxis(points, 0, 1)


def kept_steps(schedule: Schedule, steps: FewSteps) -> tuple[int, ...]:
    """The sampler's steps whose times are the student's.

    Worked example: 50 steps, nominal time 740 → step (1000 − 740)·50/1000 = 13.
    Raises InputError if the sampler's table has no such time.
    """
    # A nominal time is an entry of the training table; the sampler's has fewer entries.
    exact = (TRAIN_TIMES - np.asarray(steps.nominal)) * schedule.steps / TRAIN_TIMES
    if np.any(exact != np.round(exact)) or schedule.shift != steps.shift:
        raise InputError(
            f"{schedule.steps} sampler steps do not meet the student's times {steps.nominal}: "
            "use 50 steps"
        )
    return tuple(int(step) for step in exact)
