"""The optimiser of all stages (docs/method.md, section 4): AdamW, clipped by the global norm.

The paper's has β₁ = 0.
"""

import dataclasses

import jax.numpy as jnp
import optax

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW.

    lr: the learning rate. warmup_steps: in how many steps it rises to that. decay: whether it falls
      to 0 along half a cosine over the run's steps.
    clip: the largest global norm of a gradient.
    weight_decay: on all parameters, norms and biases too.
    """

    lr: float
    clip: float
    weight_decay: float = 0.01
    b2: float = 0.999
    eps: float = 1e-8
    b1: float = 0.0
    decay: bool = False
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        positive = self.lr > 0 and self.clip > 0 and self.eps > 0
        if not positive or self.weight_decay < 0 or not 0 < self.b2 < 1:
            raise InputError(
                f"{self}: lr, clip and eps must be above 0, weight_decay at least 0, "
                "b2 between 0 and 1"
            )
        if not 0 <= self.b1 < 1 or self.warmup_steps < 0:
            raise InputError(f"{self}: expected 0 ≤ b1 < 1 and warmup_steps ≥ 0")


def learning_rate(cfg: OptimConfig, steps: int, step: Int[Array, ""]) -> Float[Array, ""]:
    """lr·min(1, (i + 1)/warmup)·½(1 + cos(π·min(1, i/n))) at step i of a run of n steps."""
    rate = jnp.asarray(cfg.lr)
    if cfg.warmup_steps:
        rate = rate * jnp.minimum(1.0, (step + 1) / cfg.warmup_steps)
    if cfg.decay:
        progress = jnp.minimum(1.0, step / steps)
        rate = rate * ((1 + jnp.cos(jnp.pi * progress)) / 2)
    return rate


def make_optimizer(cfg: OptimConfig, steps: int) -> optax.GradientTransformation:
    """θ ← θ − lr·(m̂/(√v̂ + eps) + wd·θ), m̂ and v̂ the bias-corrected means of g and g².

    With β₁ = 0 Adam's first moment is the gradient itself, so none is stored: a third less state.

    Args:
      cfg: the optimiser's numbers.
      steps: of the run; a rate that decays reaches 0 there.
    """
    # How a gradient is scaled: with a first moment, or without one.
    if cfg.b1 > 0:
        scale = optax.scale_by_adam(cfg.b1, cfg.b2, cfg.eps)
    else:
        scale = optax.scale_by_rms(
            decay=cfg.b2, eps=cfg.eps, eps_in_sqrt=False, bias_correction=True
        )

    def rate(step: Array) -> Array:
        """The learning rate of a step."""
        return learning_rate(cfg, steps, step)

    # A constant rate needs no step counter.
    is_constant = not cfg.warmup_steps and not cfg.decay
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip),
        scale,
        optax.add_decayed_weights(cfg.weight_decay),
        optax.scale_by_learning_rate(cfg.lr if is_constant else rate),
    )
