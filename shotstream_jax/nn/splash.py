"""Attention on TPUs: jax's splash kernel, which keeps no scores in the device's memory.

It wants whole blocks, so queries and keys are padded; padded keys belong to another segment than
all queries. A cache is made as long as `whole_blocks` says, so that it is never padded: that would
copy it in every pass. Where only the first `length` keys count, blocks of keys that lie beyond are
neither fetched nor computed.
"""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import Array
from shotstream_jax.nn.kernels import ATTENDED

if TYPE_CHECKING:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info

LANES = 128  # widths and numbers of keys come in multiples of it
_BLOCK = 1024  # of queries and of keys, at most
# Segments of keys: queries attend to keys of their own segment only.
_VALID = 0
_PADDING = 1


def fits(head_dim: int) -> bool:
    """Whether the kernel takes this head width."""
    return head_dim % LANES == 0


def whole_blocks(number: int) -> int:
    """The least number of keys, from this one on, that needs no padding."""
    return number + -number % _block(number)


def splash(
    q: Array,
    keys: Array,
    values: Array,
    length: Array | None,
    *,
    interpret: bool = False,
) -> Array:
    """Attention as nn/kernels defines it.

    Args:
        q: [b, n, f, t, k].
        keys, values: [b, n, s, k].
        length: [b], only so many keys count; with it there is no gradient.
        interpret: runs the kernel step by step on a CPU, for tests.

    Returns:
        [b, n, f, t, k].
    """
    b, n, f, t, k = q.shape
    queries = f * t
    s = keys.shape[2]
    block_q = _block(queries)
    block_kv = _block(s)

    # The kernel has no scale of its own: queries are divided by √k here. All padded to whole
    # blocks.
    scaled = (q * k**-0.5).astype(keys.dtype).reshape(b, n, queries, k)
    flat = _padded(scaled, block_q)
    keys = _padded(keys, block_kv)
    values = _padded(values, block_kv)

    # One story, [n, queries, k] → [n, queries, k].
    attend_story = functools.partial(
        _attend_story,
        blocks=(block_q, block_kv),
        interpret=interpret,
    )
    if length is None:
        # All keys count but the padding.
        attend_all = functools.partial(attend_story, length=s, skip=False)
        out = jax.vmap(attend_all)(flat, keys, values)
    else:
        # Stories one by one, as each has its own list of blocks.
        def attend_prefix(story: tuple[Array, Array, Array, Array]) -> Array:
            """q, keys, values and length of one story."""
            q, keys, values, length = story
            return attend_story(
                q,
                keys,
                values,
                length=length,
                skip=True,
            )

        out = jax.lax.map(attend_prefix, (flat, keys, values, length))
    return out[:, :, :queries].reshape(b, n, f, t, k).astype(values.dtype)


def _attend_story(
    q: Array,
    keys: Array,
    values: Array,
    *,
    length: int | Array,
    skip: bool,
    blocks: tuple[int, int],
    interpret: bool,
) -> Array:
    """Attention of one story, [n, queries, k] and [n, s, k] → [n, queries, k].

    skip: leaves out the blocks of keys beyond the length. blocks: sizes of a block of queries and
    of one of keys.
    """
    # Pallas takes a while to import, and only TPUs use this kernel.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    block_q, block_kv = blocks
    sizes = kernel.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_kv_dkv_compute=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    n, queries = q.shape[:2]
    s = keys.shape[1]
    # Every query sees every key; what limits it are the segments.
    see_all = masks.MultiHeadMask([masks.FullMask((queries, s))] * n)
    attend = kernel.make_splash_mha(
        see_all,
        block_sizes=sizes,
        head_shards=1,
        residual_checkpoint_name=ATTENDED,
        q_seq_shards=1,
        interpret=interpret,
    )
    if skip:
        attend.fwd_mask_info = _blocks_before(
            length,
            queries // block_q,
            s // block_kv,
            block_kv,
        )
    segments = kernel.SegmentIds(
        q=jnp.full(queries, _VALID, jnp.int32),
        kv=jnp.where(jnp.arange(s) < length, _VALID, _PADDING),
    )
    return attend(q, keys, values, segments)


def _blocks_before(
    length: int | Array,
    rows: int,
    columns: int,
    block: int,
) -> "splash_attention_mask_info.MaskInfo":
    """Which blocks of keys are computed, and which one is fetched for each; for all rows alike.

    rows, columns: numbers of blocks of queries and of keys. block: keys of a block.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_mask_info as mask_info,
    )

    column = jnp.arange(columns, dtype=jnp.int32)
    last = (length - 1) // block
    # 0: the block is left out. 2: it is computed without a mask but the segments'.
    computed = jnp.where(column <= last, 2, 0)
    # The last valid block stands in for those beyond it, so that nothing is fetched for them.
    fetched = jnp.minimum(column, last)

    def each_row(a: Array) -> Array:
        """[columns] → int32 [1, rows, columns]."""
        return jnp.broadcast_to(a[None, None].astype(jnp.int32), (1, rows, columns))

    return mask_info.MaskInfo(
        data_next=each_row(fetched),
        mask_next=None,
        block_mask=each_row(computed),
        partial_mask_blocks=None,
        q_sequence=None,
    )


def _block(number: int) -> int:
    """Size of a block of so many queries or keys, a multiple of LANES.

    What fits in one block is one block. Else the size from over half of _BLOCK to all of it that
    pads least; of equally good ones the largest.
    """
    if number <= _BLOCK:
        return number + -number % LANES
    sizes = range(_BLOCK, _BLOCK // 2, -LANES)
    return min(sizes, key=lambda size: -number % size)


def _padded(a: Array, block: int) -> Array:
    """[b, n, s, k] with zeros after the tokens until they fill whole blocks, if they do not yet."""
    extra = -a.shape[2] % block
    if extra == 0:
        return a
    return jnp.pad(a, ((0, 0), (0, 0), (0, extra), (0, 0)))
