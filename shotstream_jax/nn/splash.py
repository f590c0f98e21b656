"""Attention on TPUs: jax's splash kernel, which keeps no scores in the device's memory.

It wants whole blocks, so queries and keys are padded; padded keys belong to another segment than all queries. A cache
is made as long as `whole_blocks` says, so that it is never padded: that would copy it in every pass. Where only the
first `length` keys count, blocks of keys that lie beyond are neither fetched nor computed.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as mask_info

from shotstream_jax.core.typing import Array

LANES = 128  # widths and numbers of keys come in multiples of it
_BLOCK = 1024  # of queries and of keys, at most
_VALID, _PADDING = 0, 1


def fits(head_dim: int) -> bool:
    """Whether the kernel takes this head width."""
    return head_dim % LANES == 0


def whole_blocks(number: int) -> int:
    """The least number of keys that is not padded, from this one on."""
    return number + -number % _block(number)


def splash(
    q: Array, keys: Array, values: Array, length: Array | None, *, interpret: bool = False
) -> Array:
    """q [b, n, f, t, k], keys and values [b, n, s, k], length [b] → [b, n, f, t, k]. With a length: no gradient.

    interpret: runs the kernel step by step on a processor, for tests.
    """
    b, n, f, t, k = q.shape
    queries, s = f * t, keys.shape[2]
    block_q, block_kv = _block(queries), _block(s)
    flat = _padded((q * k**-0.5).astype(keys.dtype).reshape(b, n, queries, k), block_q)
    keys, values = _padded(keys, block_kv), _padded(values, block_kv)
    attend = functools.partial(_story, block_q=block_q, block_kv=block_kv, interpret=interpret)
    if length is None:
        out = jax.vmap(lambda *qkv: attend(*qkv, s, skip=False))(flat, keys, values)
    else:
        out = jax.lax.map(lambda args: attend(*args, skip=True), (flat, keys, values, length))
    return out[:, :, :queries].reshape(b, n, f, t, k).astype(values.dtype)


def _story(
    q: Array,
    keys: Array,
    values: Array,
    length: int | Array,
    *,
    skip: bool,
    block_q: int,
    block_kv: int,
    interpret: bool,
) -> Array:
    """[n, queries, k], [n, s, k]: one story."""
    sizes = kernel.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_kv_dkv_compute=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    n, queries, s = *q.shape[:2], keys.shape[1]
    full = masks.MultiHeadMask([masks.FullMask((queries, s))] * n)
    attend = kernel.make_splash_mha(
        full, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
    )
    if skip:
        attend.fwd_mask_info = _blocks_before(length, queries // block_q, s // block_kv, block_kv)
    segments = kernel.SegmentIds(
        q=jnp.full(queries, _VALID, jnp.int32),
        kv=jnp.where(jnp.arange(s) < length, _VALID, _PADDING),
    )
    return attend(q, keys, values, segments)


def _blocks_before(length: Array, rows: int, columns: int, block: int) -> mask_info.MaskInfo:
    """Which blocks of keys are computed (2: no mask but the segments'), and which is fetched for each: the last valid
    one stands in for those beyond it, so that nothing is fetched for them."""
    column = jnp.arange(columns, dtype=jnp.int32)
    last = (length - 1) // block
    each_row = lambda a: jnp.broadcast_to(a.astype(jnp.int32), (1, rows, columns))  # noqa: E731
    computed, fetched = jnp.where(column <= last, 2, 0), jnp.minimum(column, last)
    return mask_info.MaskInfo(
        data_next=each_row(fetched[None, None]),
        mask_next=None,
        block_mask=each_row(computed[None, None]),
        partial_mask_blocks=None,
        q_sequence=None,
    )


def _block(number: int) -> int:
    """Of the block sizes from over half to all of the most, the one that pads least; what fits in one is one block."""
    if number <= _BLOCK:
        return number + -number % LANES
    return min(range(_BLOCK, _BLOCK // 2, -LANES), key=lambda block: -number % block)


def _padded(a: Array, block: int) -> Array:
    extra = -a.shape[2] % block
    return a if not extra else jnp.pad(a, ((0, 0), (0, 0), (0, extra), (0, 0)))
