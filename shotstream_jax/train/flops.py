"""Floating-point operations of the model's passes, counted by formula: 2·m·n·k for a matmul, nothing for the rest.

Recomputation (remat) does not count: these are the operations that the mathematics needs.
"""

from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.memory.window import MemoryConfig


def forward_flops(cfg: DiTConfig, tokens: int, keys: float, slots: int) -> float:
    """One story's pass.

    tokens: queries. keys: that each of them sees, on average. slots: captions whose keys and values
    are made in the pass.
    """
    # Self-attention's q k v o, cross-attention's q o; the MLP.
    linears = tokens * (12 * cfg.dim**2 + 4 * cfg.dim * cfg.ffn_dim)
    attention = 4 * tokens * cfg.dim * (keys + cfg.text_len)
    text = text_flops(cfg, slots)
    # Patch embedding, head and the text MLP.
    ends = tokens * 4 * cfg.patch**2 * cfg.channels * cfg.dim
    ends += slots * cfg.text_len * 2 * cfg.dim * (cfg.text_dim + cfg.dim)
    return cfg.layers * (linears + attention + text) + ends


def text_flops(cfg: DiTConfig, slots: int) -> float:
    """Keys and values of so many captions, in one layer."""
    return slots * cfg.text_len * 4 * cfg.dim**2


def backward_flops(cfg: DiTConfig, tokens: int, forward: float, trained: str) -> float:
    """Gradients by activations cost a forward pass, those by weights another, or their share of it.

    trained: which parameters move (train/state.Trained.what).
    """
    weights = forward
    if trained == "self_attention":
        weights = cfg.layers * tokens * 8 * cfg.dim**2
    return forward + weights


def teacher_flops(
    cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int, slots: int
) -> float:
    """The teacher's pass over [context, shot], full attention. tokens: of a latent frame."""
    total = (memory.context + frames) * tokens
    return forward_flops(cfg, total, total, slots)


def mean_keys(memory: MemoryConfig, frames: int) -> float:
    """Frames that a chunk of a shot sees, its own included, on average."""
    seen = 0
    chunks = 0
    for first in range(0, frames, memory.chunk):
        seen += memory.context + min(first + memory.chunk, memory.window)
        chunks += 1
    return seen / chunks


def chunks_flops(cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int) -> float:
    """One pass over every chunk of a shot, with the captions' keys kept."""
    return forward_flops(cfg, frames * tokens, mean_keys(memory, frames) * tokens, slots=0)


def prefill_flops(cfg: DiTConfig, memory: MemoryConfig, tokens: int) -> float:
    """The pass over the context and the captions."""
    context = memory.context * tokens
    return forward_flops(cfg, context, context, memory.captions)


def rollout_flops(
    cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int, steps: int
) -> float:
    """Prefill, on average (steps + 1)/2 denoising passes of each chunk, and the commit."""
    passes = (steps + 1) / 2 + 1
    return prefill_flops(cfg, memory, tokens) + passes * chunks_flops(cfg, memory, frames, tokens)
