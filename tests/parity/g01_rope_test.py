"""Group 1: rotary angles, and their application to tokens."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from shotstream_jax.nn.rope import rotate, rotations
from tests.parity.reference import arrays

DATA = arrays("g01_rope.npz")
ANGLES = [k for k in DATA if k.startswith("out/angles") or k.startswith("out/freqs")]
APPLIED = [k for k in DATA if re.match(r"out/(causal_)?rope_apply", k)]


def name(key: str) -> str:
    return "g01-" + key.removeprefix("out/")


@pytest.mark.parametrize("key", ANGLES, ids=name)
def test_angles(key, close):
    """A position's time, row and column parts all take it as their own position."""
    want = DATA[key]
    match = re.search(r"_d(\d+)(?:_row(\d+))?", key)
    head_dim = int(match[1]) if match else 2 * want.shape[1]
    positions = (
        np.array([int(match[2])]) if match and match[2] else np.arange(np.atleast_2d(want).shape[0])
    )
    space = head_dim // 2 // 3
    n = int(positions[-1]) + 1
    # Row and column angles come from a token's place in the grid, so the first column and the first
    # row of an n×n grid are asked for.
    time = rotations(positions[None], np.zeros_like(positions)[None], (1, 1), head_dim)[:, 0, :, 0]
    rows = rotations(np.zeros((1, 1), int), np.zeros((1, 1), int), (n, 1), head_dim)[:, 0, 0]
    columns = rotations(np.zeros((1, 1), int), np.zeros((1, 1), int), (1, n), head_dim)[:, 0, 0]
    temporal = head_dim // 2 - 2 * space
    got = jnp.concatenate(
        [
            time[:, :, :temporal],
            rows[:, positions, temporal : temporal + space],
            columns[:, positions, temporal + space :],
        ],
        axis=-1,
    )
    turns = {"out/freqs_real": [want], "out/freqs_imag": [want]}.get(
        key, [np.cos(want), np.sin(want)]
    )
    got = {"out/freqs_real": got[:1], "out/freqs_imag": got[1:]}.get(key, got)
    for ours, theirs in zip(got, turns, strict=True):
        close(ours, np.atleast_2d(theirs), key)


@pytest.mark.parametrize("key", APPLIED, ids=name)
def test_applied(key, close):
    x = jnp.asarray(DATA["in/x_pad" if key.endswith("_pad") else "in/x"])
    frames, *grid = (int(n) for n in DATA["in/grid"][0])
    start = int(m[1]) if (m := re.search(r"start(\d+)", key)) else 0
    flags = (
        DATA["in/flags"] if "dynamic" in key and "zeroflags" not in key else np.zeros(frames, int)
    )
    rotation = rotations(start + np.arange(frames)[None], flags[None], tuple(grid), x.shape[-1])
    rotation = rotation.reshape(2, 1, 1, -1, rotation.shape[-1])
    # Tokens beyond the grid pass unrotated: cos 1, sin 0.
    beyond = jnp.zeros((2, 1, 1, x.shape[1] - rotation.shape[3], rotation.shape[-1])).at[0].set(1.0)
    x = jnp.moveaxis(x, 1, 2)[:, :, None]  # [b, n, f = 1, t, k]
    turned = rotate(x, jnp.concatenate([rotation, beyond], axis=3))
    close(jnp.moveaxis(turned[:, :, 0], 2, 1), DATA[key], key)
