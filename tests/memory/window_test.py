"""The ring buffer holds exactly what the window rule says, contiguously and as a prefix."""

import itertools

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.memory.window import MemoryConfig

SIZES = [
    (chunk, ring * chunk + sinks * chunk, sinks * chunk)
    for chunk, ring, sinks in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2))
]


@pytest.mark.parametrize("chunk, window, sinks", SIZES)
def test_buffer_is_window(chunk, window, sinks):
    memory = MemoryConfig(context=2, chunk=chunk, window=window, sinks=sinks)
    buffer = {}
    for first in range(0, 8 * chunk, chunk):
        slot = int(memory.slot(np.int32(first)))
        for i in range(chunk):
            buffer[slot + i] = first + i
        valid = int(memory.valid(np.int32(first + chunk)))
        assert sorted(buffer) == list(range(2, valid)), "the valid part is a prefix"
        visible = {f for r in memory.visible_past(first) for f in range(r.start, r.stop)}
        assert set(buffer.values()) == visible | set(range(first, first + chunk))


def test_default_reach_is_21_frames():
    """Without a window of its own a longer shot behaves as w = 21, s = 0."""
    memory = MemoryConfig()
    assert memory.visible_past(18) == (slice(0, 18),)
    assert memory.visible_past(21) == (slice(3, 21),)


@pytest.mark.parametrize(
    "sizes, named",
    [
        ({"window": 7}, "window 7"),
        ({"sinks": 2}, "sinks 2"),
        ({"window": 6, "sinks": 6}, "must hold a chunk"),
        ({"chunk": 0}, "chunk 0"),
    ],
)
def test_refused(sizes, named):
    with pytest.raises(InputError, match=named):
        MemoryConfig(**sizes)


def test_shot_length_names_a_remedy():
    with pytest.raises(
        InputError, match="20 latent frames is not a multiple of the chunk, 3; try 21"
    ):
        MemoryConfig().check_shot(20)
