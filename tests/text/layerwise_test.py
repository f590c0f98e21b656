"""The text encoder whose weights are in the host's memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.model import random_params
from shotstream_jax.testing import cast, tiny_preset
from shotstream_jax.text import layerwise
from shotstream_jax.text.encode import encode_prompt
from shotstream_jax.text.umt5 import UMT5

PRESET = tiny_preset()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_numbers_are_those_of_the_whole_encoder(dtype, monkeypatch):
    """And no more than a layer's weights are sent at a time."""
    text = UMT5(PRESET.text, dtype)
    params = cast(random_params(PRESET, 0, ["text"]), dtype)["text"]
    kept = jax.tree.map(np.asarray, params)
    assert layerwise.on_host(kept) and not layerwise.on_host(params)
    sent = []
    put = jax.device_put

    def counted(tree):
        sent.append(sum(leaf.nbytes for leaf in jax.tree.leaves(tree)))
        return put(tree)

    monkeypatch.setattr(layerwise.jax, "device_put", counted)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, PRESET.text.vocab, (2, 7)), jnp.int32)
    length = jnp.asarray([7, 4], jnp.int32)
    found = layerwise.encode_layerwise(text, kept, ids, length)
    want = encode_prompt(text, params, ids, length)
    assert found.dtype == want.dtype == jnp.float32
    # A scan rounds some sums otherwise in bfloat16.
    tolerance = 1e-5 if dtype == jnp.float32 else 0.03
    np.testing.assert_allclose(found, want, atol=tolerance)
    assert not np.any(found[1, 4:])
    layers = PRESET.text.layers
    blocks = sum(leaf.nbytes for leaf in jax.tree.leaves(params["blocks"]))
    assert sent == [blocks // layers] * layers
