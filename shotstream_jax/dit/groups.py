"""Who sees whom where all chunks of a shot are in one pass (nn/attention.group_attend)."""

from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.nn.attention import Group


def causal_groups(
    memory: MemoryConfig,
    frames: int,
    tokens: int,
) -> list[Group]:
    """Who sees whom in [context, chunk, chunk, …] of a shot of `frames` frames of `tokens` tokens.

    The first group is the context, which sees itself. The past is the pass itself.
    """
    context = memory.context
    groups = [Group(slice(0, context), own=slice(0, context * tokens), past=())]
    for chunk in replay_groups(memory, frames, tokens):
        # Queries and own keys come after the context's; past ranges count from the context on
        # already.
        group = Group(
            queries=_moved(chunk.queries, context),
            own=_moved(chunk.own, context * tokens),
            past=chunk.past,
        )
        groups.append(group)
    return groups


def forcing_groups(
    memory: MemoryConfig,
    frames: int,
    tokens: int,
) -> list[Group]:
    """Who sees whom in [context, clean chunks but for the last, noisy chunks] (dit/forcing)."""
    context = memory.context
    chunks = replay_groups(memory, frames, tokens)
    groups = [Group(slice(0, context), own=slice(0, context * tokens), past=())]
    # Clean chunks follow the context, as past ranges count them; the noisy ones come behind those.
    clean = context + frames - memory.chunk
    for first, some in ((context, chunks[:-1]), (clean, chunks)):
        for chunk in some:
            queries = _moved(chunk.queries, first)
            groups.append(Group(queries, own=_moved(chunk.own, first * tokens), past=chunk.past))
    return groups


def replay_groups(
    memory: MemoryConfig,
    frames: int,
    tokens: int,
) -> list[Group]:
    """Who sees whom when the queries are [chunk, chunk, …], the past [context, chunk, chunk, …]."""
    memory.check_shot(frames)
    groups = []
    for first in range(0, frames, memory.chunk):
        chunk = slice(first, first + memory.chunk)
        # A chunk sees all of the context, and of the shot what the window leaves.
        past = [_tokens(slice(0, memory.context), tokens)]
        for seen in memory.visible_past(first):
            past.append(_tokens(_moved(seen, memory.context), tokens))
        groups.append(Group(chunk, own=_tokens(chunk, tokens), past=tuple(past)))
    return groups


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _tokens(frames: slice, tokens: int) -> slice:
    """A range of frames as one of tokens, `tokens` a frame."""
    return slice(frames.start * tokens, frames.stop * tokens)
