"""The optimiser of all stages (spec page 4): AdamW, clipped by the global norm; the paper's with β₁ = 0."""

import dataclasses

import jax.numpy as jnp
import optax

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """clip: largest global norm of a gradient. weight_decay: on norms and biases too.

    lr: constant. warmup_steps: that it takes to get there; decay_steps: in which it falls to 0 along half a cosine.
    """

    lr: float
    clip: float
    weight_decay: float = 0.01
    b2: float = 0.999
    eps: float = 1e-8
    b1: float = 0.0
    decay_steps: int = 0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if (
            self.lr <= 0
            or self.clip <= 0
            or self.weight_decay < 0
            or not 0 < self.b2 < 1
            or self.eps <= 0
        ):
            raise InputError(
                f"{self} is no optimiser: lr, clip, eps > 0, weight_decay ≥ 0, 0 < b2 < 1"
            )
        if not 0 <= self.b1 < 1 or min(self.decay_steps, self.warmup_steps) < 0:
            raise InputError(
                f"{self} is no optimiser: 0 ≤ b1 < 1, decay_steps and warmup_steps ≥ 0"
            )

    def rate(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """lr·min(1, (i + 1)/warmup)·½(1 + cos(π·min(1, i/decay))) of step i."""
        rise = jnp.minimum(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        fall = (
            (1 + jnp.cos(jnp.pi * jnp.minimum(1.0, step / self.decay_steps))) / 2
            if self.decay_steps
            else 1.0
        )
        return jnp.asarray(self.lr * rise * fall)


def make_optimizer(cfg: OptimConfig) -> optax.GradientTransformation:
    """θ ← θ − lr·(m̂/(√v̂ + eps) + wd·θ), m̂ and v̂ the bias-corrected means of g and g².

    With β₁ = 0 Adam's first moment is the gradient itself, so none is stored: a third less state.
    """
    without_mean = optax.scale_by_rms(
        decay=cfg.b2, eps=cfg.eps, eps_in_sqrt=False, bias_correction=True
    )
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip),
        optax.scale_by_adam(cfg.b1, cfg.b2, cfg.eps) if cfg.b1 else without_mean,
        optax.add_decayed_weights(cfg.weight_decay),
        optax.scale_by_learning_rate(cfg.rate if cfg.warmup_steps or cfg.decay_steps else cfg.lr),
    )
