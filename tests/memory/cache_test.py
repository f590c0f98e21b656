"""Writing into a cache that lies on many devices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.memory.cache import KV, put

BATCH = 8


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def test_every_device_writes_its_own_stories():
    """The values of one device, every story at its own offset; and nothing is sent."""
    buffer, new = (
        KV(normal(0, 3, BATCH, 2, 10, 4), normal(1, 3, BATCH, 2, 10, 4)),
        normal(2, BATCH, 2, 2, 4),
    )
    token = jnp.arange(BATCH, dtype=jnp.int32)
    want = put(buffer, 1, new, -new, token)
    np.testing.assert_array_equal(want.keys[1, 5, :, 5:7], new[5])
    mesh, rows = make_mesh({"fsdp": 4, "tensor": 2}), ("data", "fsdp")
    lie = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))  # noqa: E731
    write = jax.jit(lambda buffer, new, token, layer: put(buffer, layer, new, -new, token))
    with jax.set_mesh(mesh):
        buffer = jax.device_put(buffer, lie(None, rows, "tensor"))
        new, token = jax.device_put((new, token), (lie(rows, "tensor"), lie(rows)))
        compiled = write.lower(buffer, new, token, jnp.int32(1)).compile()
        got = compiled(buffer, new, token, jnp.int32(1))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert got.keys.sharding.is_equivalent_to(lie(None, rows, "tensor"), 5)
    assert not any(
        word in compiled.as_text() for word in ("all-reduce", "all-gather", "collective-permute")
    )
