"""Collectives counted in a compiled program's text."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from shotstream_jax.aot import collectives
from shotstream_jax.core.sharding import make_mesh


def counted(body, spec, *arguments) -> collectives.Collectives:
    """Of a program in which each of 8 devices runs `body` on its rows."""
    mapped = jax.shard_map(
        body, mesh=make_mesh(), in_specs=spec, out_specs=P("fsdp"), check_vma=False
    )
    return collectives.count_collectives(jax.jit(mapped).lower(*arguments).compile().as_text())


def test_loops_multiply():
    def body(x):
        inner = lambda x, _: (jnp.sin(jax.lax.psum(x, "fsdp")), None)  # noqa: E731
        outer = lambda x, _: (jax.lax.scan(inner, x, None, length=3)[0] + 1, None)  # noqa: E731
        return jax.lax.scan(outer, x, None, length=5)[0]

    found = counted(body, P("fsdp"), jnp.ones((8, 4)))
    received = {"all-reduce": 15 * 4 * 4}
    assert found == collectives.Collectives({"all-reduce": 15}, received, 0, 4 * 4)


def test_a_drawn_number_of_rounds_is_said():
    def body(x, n):
        return jax.lax.fori_loop(0, n, lambda _, x: jnp.sin(jax.lax.psum(x, "fsdp")), x)

    found = counted(body, (P("fsdp"), P()), jnp.ones((8, 4)), jnp.int32(3))
    assert (found.count, found.unknown_loops) == ({"all-reduce": 1}, 1)


def test_kinds_and_bytes():
    def body(x):
        ring = [(i, (i + 1) % 8) for i in range(8)]
        x = jnp.sin(jax.lax.ppermute(x, "fsdp", ring))  # [8, 4] bfloat16 on a device
        x = jnp.sin(jax.lax.all_to_all(x, "fsdp", 0, 0))
        x = jnp.sin(jax.lax.psum_scatter(x.astype(jnp.float32), "fsdp", tiled=True))  # [1, 4]
        return jax.lax.all_gather(x, "fsdp", tiled=True)  # [8, 4]

    found = counted(body, P("fsdp"), jnp.ones((64, 4), jnp.bfloat16))
    assert found.count == dict.fromkeys(
        ("all-gather", "reduce-scatter", "all-to-all", "collective-permute"), 1
    )
    assert (found.bytes["all-gather"], found.bytes["reduce-scatter"]) == (128, 16)
    # The processor's compiler may widen bfloat16 or not.
    assert found.bytes["collective-permute"] in (64, 128)


def test_tpu_forms():
    """An asynchronous start counts once, by its result; a fusion of all-reduce and slice is a
    reduce-scatter."""
    text = """
%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%all-reduce-scatter.1 (input.8: bf16[16,4]) -> bf16[4,4] {
  %input.8 = bf16[16,4]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %all-reduce.1 = bf16[16,4]{1,0:T(8,128)(2,1)S(1)} all-reduce(%input.8), to_apply=%add
}

ENTRY %main.1 (x: f32[2,4]) -> f32[8,4] {
  %all-gather-start.1 = (f32[2,4]{1,0:T(8,128)}, f32[8,4]{1,0:T(8,128)}) \
all-gather-start(%x), dimensions={0}
  %all-gather-done.1 = f32[8,4]{1,0:T(8,128)} all-gather-done(%all-gather-start.1)
  ROOT %fusion.1 = bf16[4,4]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
    want = {"all-gather": 1, "reduce-scatter": 1}, {"all-gather": 128, "reduce-scatter": 128}
    assert collectives.count_collectives(text) == collectives.Collectives(*want, 0, 128)
