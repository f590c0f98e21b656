"""Floating-point operations of the model's passes, by formula: 2·m·n·k for a matmul.

Recomputation (remat) does not count: these are the operations that the mathematics needs.
"""

from shotstream_jax.dit.config import DiTConfig
from shotstream_jax.memory.window import MemoryConfig


def forward_flops(cfg: DiTConfig, tokens: int, keys: float, slots: int) -> float:
    """One story's pass.

    tokens: queries. keys: that each of them sees, on average. slots: captions whose keys and values
    are made in the pass.
    """
    # In every layer, for each token: self-attention's q k v o and cross-attention's q o …
    square = cfg.dim**2
    projections = 6 * 2 * square
    # … and the two matrices of the MLP.
    mlp = 2 * 2 * cfg.dim * cfg.ffn_dim
    linears = tokens * (projections + mlp)
    # Scores and weighted values, over the keys of both attentions.
    attention = 2 * 2 * tokens * cfg.dim * (keys + cfg.text_len)
    text = text_flops(cfg, slots)
    per_layer = linears + attention + text
    # Once a pass: patch embedding and head …
    patch_values = cfg.patch**2 * cfg.channels
    ends = tokens * 2 * 2 * patch_values * cfg.dim
    # … and the two matrices of the text MLP.
    ends += slots * cfg.text_len * 2 * cfg.dim * (cfg.text_dim + cfg.dim)
    return cfg.layers * per_layer + ends


def text_flops(cfg: DiTConfig, slots: int) -> float:
    """Keys and values of so many captions, in one layer."""
    # Two matrices [d, d] for each of the slots' text tokens.
    return slots * cfg.text_len * 4 * cfg.dim**2


def backward_flops(cfg: DiTConfig, tokens: int, forward: float, trained: str) -> float:
    """Gradients by activations cost a forward pass, those by weights another, or their share of it.

    trained: which parameters move (train/state.Trained.what).
    """
    weights = forward
    # Of the Linears only self-attention's q, k, v and o get a gradient.
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


def forcing_flops(
    cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int, slots: int
) -> float:
    """One pass under teacher forcing (dit/forcing). slots: captions whose keys are made in it."""
    context = memory.context * tokens
    total = forward_flops(cfg, context, context, slots)
    # The noisy chunks, and the clean ones but for the last.
    total += chunks_flops(cfg, memory, frames, tokens)
    history = frames - memory.chunk
    if history:
        total += chunks_flops(cfg, memory, history, tokens)
    return total


def rollout_flops(
    cfg: DiTConfig, memory: MemoryConfig, frames: int, tokens: int, steps: int
) -> float:
    """Prefill, on average (steps + 1)/2 denoising passes of each chunk, and the commit."""
    passes = (steps + 1) / 2 + 1
    return prefill_flops(cfg, memory, tokens) + passes * chunks_flops(cfg, memory, frames, tokens)
