"""The cache is written in place: the compiled step says so."""

import math
import re

import jax
import jax.numpy as jnp

from shotstream_jax.generate import shot as steps
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.testing import tiny_model

MODEL = tiny_model()
# `%name = f32[2,1,60]{…} operation(`; a result of several arrays has no shape of its own.
INSTRUCTION = re.compile(r"= \w+\[([\d,]+)\]\S* ([\w-]+)\(")


def test_no_copy_of_the_cache_in_a_chunk_step():
    preset, grid = MODEL.preset, (4, 6)
    caches = MODEL.student.init_caches(1, *grid)
    noise = jnp.zeros(
        (len(preset.steps.nominal), 1, preset.memory.chunk, *grid, preset.dit.channels)
    )
    ids = FrameIds(*(jnp.zeros((1, preset.memory.chunk), jnp.int32) for _ in range(2)))
    program = steps.chunk_step.lower(
        MODEL.student, MODEL.params["dit"], noise, ids, caches, preset.steps
    ).compile()
    a_layer = caches.frames.keys.size // preset.dit.layers
    shape = caches.frames.keys.shape
    seen, bad = set(), []
    for dims, operation in INSTRUCTION.findall(program.as_text()):
        size = math.prod(map(int, dims.split(",")))
        if tuple(map(int, dims.split(","))) == shape:
            seen.add(operation)
        if operation in ("copy", "concatenate", "pad", "transpose", "scatter") and size >= a_layer:
            bad.append((operation, dims))
    assert "dynamic-update-slice" in seen  # the pattern above does read this text
    assert not bad
    donated = sum(a.nbytes for a in jax.tree.leaves(caches))
    assert program.memory_analysis().alias_size_in_bytes >= donated
