"""The teacher's ODE trajectories that the student starts from (spec page 4, stage 2)."""

import jax.numpy as jnp
import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, typechecked
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.dit.teacher import Teacher
from shotstream_jax.flow.schedule import TRAIN_TIMES, FewSteps, Schedule
from shotstream_jax.flow.solver import sample
from shotstream_jax.model import Params
from shotstream_jax.train.losses.flow_matching import Guidance, guided_velocity


def kept_steps(schedule: Schedule, steps: FewSteps) -> tuple[int, ...]:
    """The sampler's steps whose times are the student's. Worked example: 50 steps, nominal 740 → step 13.

    Raises InputError if the sampler's table has no such time.
    """
    exact = (TRAIN_TIMES - np.asarray(steps.nominal)) * schedule.steps / TRAIN_TIMES
    if np.any(exact != np.round(exact)) or schedule.shift != steps.shift:
        raise InputError(
            f"{schedule.steps} sampler steps do not meet the student's {steps.nominal}: try 50"
        )
    return tuple(int(i) for i in exact)


@typechecked
def trajectory(
    teacher: Teacher,
    schedule: Schedule,
    steps: FewSteps,
    params: Params,
    conditions: Conditions,
    negative: Float[Array, "1 l e"],
    noise: Float[Array, "b f h w c"],
    guidance: Guidance,
) -> Float[Array, "b kept f h w c"]:
    """The sampler's inputs at the student's times, then its x₀."""
    velocity = guided_velocity(teacher, params, conditions, negative, guidance)
    x_0, kept = sample(velocity, noise, schedule, kept_steps(schedule, steps))
    return jnp.moveaxis(jnp.concatenate([kept, x_0[None]]), 0, 1)
