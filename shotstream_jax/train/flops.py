"""Floating-point operations of the model's passes, counted by formula: 2·m·n·k for a matmul, nothing for the rest.

Recomputation (remat) does not count: these are the operations that the mathematics needs.
"""

from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.memory.window import MemoryConfig


def forward(cfg: DiTConfig, tokens: int, keys: float, slots: int) -> float:
    """One story's pass over `tokens` queries that see `keys` keys each on average, with `slots` captions made anew."""
    linears = tokens * (
        12 * cfg.dim**2 + 4 * cfg.dim * cfg.ffn_dim
    )  # self q k v o, cross q o; the MLP
    attention = 4 * tokens * cfg.dim * (keys + cfg.text_len)
    text = slots * cfg.text_len * 4 * cfg.dim**2
    ends = tokens * 4 * cfg.patch**2 * cfg.channels * cfg.dim
    ends += slots * cfg.text_len * 2 * cfg.dim * (cfg.text_dim + cfg.dim)
    return cfg.layers * (linears + attention + text) + ends


def backward(cfg: DiTConfig, tokens: int, forward: float, trained: str) -> float:
    """Gradients by activations cost a forward pass, those by weights another, or their share of it."""
    weights = cfg.layers * tokens * 8 * cfg.dim**2 if trained == "self_attention" else forward
    return forward + weights


def teacher_pass(
    cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int, slots: int
) -> float:
    """[context, shot], full attention. tokens: a latent frame's."""
    total = (memory.context + frames) * tokens
    return forward(cfg, total, total, slots)


def mean_keys(memory: MemoryConfig, frames: int) -> float:
    """Frames that a chunk of a shot sees, its own included, on average."""
    firsts = range(0, frames, memory.chunk)
    seen = [memory.context + min(first + memory.chunk, memory.window) for first in firsts]
    return sum(seen) / len(seen)


def chunk_passes(cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int) -> float:
    """One pass over every chunk of a shot, with the captions' keys kept."""
    return forward(cfg, frames * tokens, mean_keys(memory, frames) * tokens, 0)


def rollout(cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int, steps: int) -> float:
    """Prefill, on average (steps + 1)/2 denoising passes and the commit."""
    prefill = forward(cfg, memory.context * tokens, memory.context * tokens, memory.captions)
    return prefill + ((steps + 1) / 2 + 1) * chunk_passes(cfg, memory, frames, tokens)
