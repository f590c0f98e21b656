"""What a chunk of the current shot sees, and where its keys lie. All in latent frames.

A chunk sees the context, the shot's first s frames (sinks), and as much of the most recent frames
as fits in w − s, its own chunk included. The buffer of a layer holds exactly that:

    [ context C | sinks s | ring of w − s ]

Frame i of the shot lies at C + i while i < s, else at C + s + (i − s) mod (w − s). Chunks, w and s
are multiples of the chunk, so a chunk is contiguous and the valid part is always a prefix: C +
min(frames so far, w).

Worked example, C = 6, chunk 3, w = 9, s = 3: frames 0–2 → 6–8 (sinks), 3–5 → 9–11, 6–8 → 12–14,
9–11 → 9–11 (over 3–5).
"""

import dataclasses

import jax.numpy as jnp

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Array


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """Sizes of the dual cache, in latent frames (docs/method.md, section 3).

    Attributes:
        context: C, frames of earlier shots that the global cache holds.
        chunk: frames that are denoised together.
        window: w, frames of the current shot that the local cache holds.
        sinks: s, how many of those are the shot's first ones, which are never replaced.

    Raises InputError if the sizes do not divide or do not fit into each other.
    """

    context: int = 6
    chunk: int = 3
    window: int = 21
    sinks: int = 0

    def __post_init__(self) -> None:
        # A chunk must fit everywhere without being cut: slots stay contiguous.
        if self.chunk < 1 or self.context < 0:
            raise InputError(
                f"chunk {self.chunk} and context {self.context} must be at least 1 and 0 frames"
            )
        if self.window % self.chunk or self.sinks % self.chunk or self.sinks < 0:
            raise InputError(
                f"window {self.window} and sinks {self.sinks} must be multiples of "
                f"the chunk, {self.chunk}"
            )
        if self.ring < self.chunk:
            raise InputError(
                f"window {self.window} less sinks {self.sinks} must hold a chunk of "
                f"{self.chunk} frames"
            )

    @property
    def ring(self) -> int:
        """Frames of the buffer that are reused."""
        return self.window - self.sinks

    @property
    def frames(self) -> int:
        """Frames in a layer's buffer."""
        return self.context + self.window

    @property
    def captions(self) -> int:
        """Text slots: context frames come from at most C shots, and the shot itself has one."""
        return self.context + 1

    def check_shot(self, frames: int) -> None:
        """Raises InputError if a shot of so many latent frames is not a whole number of chunks."""
        if frames < 1 or frames % self.chunk:
            nearest = max(self.chunk, round(frames / self.chunk) * self.chunk)
            raise InputError(
                f"a shot of {frames} latent frames is not a multiple of the chunk, {self.chunk}; "
                f"try {nearest}"
            )

    def slot(self, first: Array) -> Array:
        """The buffer's frame at which the chunk that starts at the shot's frame `first` lies."""
        # Behind the sinks a chunk replaces the one that lies a whole ring before it.
        in_ring = self.sinks + (first - self.sinks) % self.ring
        return self.context + jnp.where(first < self.sinks, first, in_ring)

    def valid(self, frames: Array) -> Array:
        """Length of the buffer's valid prefix once the shot has that many frames."""
        return self.context + jnp.minimum(frames, self.window)

    def visible_past(self, first: int) -> tuple[slice, ...]:
        """Ranges of the shot's earlier frames that the chunk starting at `first` sees (static)."""
        # The chunk takes a place in the ring itself; the frames just before it fill the rest.
        recent = max(0, first + self.chunk - self.ring)
        sinks = min(self.sinks, first)
        if recent <= sinks:  # nothing has been replaced between the sinks and the recent frames
            ranges = [slice(0, first)]
        else:
            ranges = [slice(0, sinks), slice(recent, first)]
        # Without sinks, or for the first chunk, ranges can be empty.
        return tuple(r for r in ranges if r.start < r.stop)
