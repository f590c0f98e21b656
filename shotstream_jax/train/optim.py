"""The optimiser of all stages (spec page 4): AdamW with β₁ = 0, clipped by the global norm."""

import dataclasses

import optax

from shotstream_jax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """lr: constant. clip: largest global norm of a gradient. weight_decay: on norms and biases too."""

    lr: float
    clip: float
    weight_decay: float = 0.01
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.clip <= 0 or self.weight_decay < 0 or not 0 < self.b2 < 1 or self.eps <= 0:
            raise InputError(f"{self} is no optimiser: lr, clip, eps > 0, weight_decay ≥ 0, 0 < b2 < 1")


def make_optimizer(cfg: OptimConfig) -> optax.GradientTransformation:
    """θ ← θ − lr·(g/(√v̂ + eps) + wd·θ), v̂ the bias-corrected mean of g².

    With β₁ = 0 Adam's first moment is the gradient itself, so none is stored: a third less state.
    """
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip),
        optax.scale_by_rms(decay=cfg.b2, eps=cfg.eps, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(cfg.weight_decay),
        optax.scale_by_learning_rate(cfg.lr),
    )
