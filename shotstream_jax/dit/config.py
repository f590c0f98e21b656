"""Sizes of the transformer."""

import dataclasses
import math

from shotstream_jax.core.errors import InputError
from shotstream_jax.nn.rope import SHOT_PHASE


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """Model sizes (docs/method.md, section 1).

    Attributes:
        dim: width d of a token.
        ffn_dim: hidden width of a block's MLP.
        heads: attention heads; each is dim / heads wide.
        layers: number of blocks.
        freq_dim: width of the sinusoid of time.
        text_dim: width e of the text encoder's output.
        text_len: tokens l of a prompt.
        channels: channels c of a latent.
        patch: edge of a token in latent pixels; a token spans one latent frame.
        eps: of all norms.
        shot_phase: θ, radians that the rotary phase jumps between shots; 0 leaves the discontinuity
            out (an ablation).

    Raises InputError if the width does not split into heads, or if the shot phase is not a number.
    """

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512
    channels: int = 16
    patch: int = 2
    eps: float = 1e-6
    shot_phase: float = SHOT_PHASE

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.head_dim % 2:
            raise InputError(
                f"width {self.dim} must split into {self.heads} heads of an even width"
            )
        if not math.isfinite(self.shot_phase):
            raise InputError(
                f"shot phase {self.shot_phase} is not an angle: "
                f"the paper has {SHOT_PHASE:.4f}, 0 means none"
            )

    @property
    def head_dim(self) -> int:
        """Width k of a head."""
        return self.dim // self.heads

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tokens of a latent frame; InputError if patches do not divide it."""
        if height % self.patch or width % self.patch:
            raise InputError(
                f"latent grid {height}×{width} does not divide into patches of {self.patch}"
            )
        return height // self.patch, width // self.patch
