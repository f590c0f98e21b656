"""One stream on many devices: the same story as on one device, and each program compiled once.

Caches are split by heads and are never sent between devices.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from shotstream_jax.aot.collectives import count_collectives
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import param_shardings, part_mesh
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate import side_by_side, stream
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.memory.window import MemoryConfig
from shotstream_jax.model import Model
from shotstream_jax.testing import tiny_model, tiny_preset
from shotstream_jax.text.encode import encode_prompt

MODEL = tiny_model()
CAPTIONS = ["a fox wakes", "it runs", "it sleeps"]
MESHES = [{"tensor": 2}, {"sequence": 2}, {"sequence": 2, "tensor": 2}]
COMPILED = (
    encode_prompt,
    steps.new_caches,
    steps.prefill,
    steps.chunk_step,
    steps.commit,
    steps.encode_context_frame,
)


def on_mesh(model: Model, **lengths: int) -> Model:
    mesh = part_mesh(lengths)
    params = {
        part: jax.device_put(tree, param_shardings(mesh, part, tree))
        for part, tree in model.params.items()
    }
    return dataclasses.replace(model, params=params)


def run(model, captions=CAPTIONS):
    return list(stream.stream_generate(model, captions, global_caption="A fox.", seed=3))


def assert_same(ours, theirs):
    assert [(c.shot, c.chunk) for c in ours] == [(c.shot, c.chunk) for c in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a.latents), np.asarray(b.latents), atol=1e-4)
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1


@pytest.fixture(scope="module")
def alone():
    return run(MODEL)


def fits(array: jax.Array, mesh, *axes) -> bool:
    return array.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec(*axes)), array.ndim)


@pytest.mark.parametrize("lengths", MESHES, ids=str)
def test_the_story_of_one_device(alone, lengths, monkeypatch):
    model, seen = on_mesh(MODEL, **lengths), []
    if lengths == {"tensor": 2}:  # the autoencoder beside the mesh; otherwise on all of it
        apart = jax.device_put(MODEL.params["vae"], jax.devices()[2])
        model = dataclasses.replace(model, params=model.params | {"vae": apart})
    original = steps.chunk_step
    monkeypatch.setattr(steps, "chunk_step", lambda *a: seen.append(original(*a)) or seen[-1])
    jax.clear_caches()
    made = run(model)
    assert_same(made, alone)
    assert [f._cache_size() for f in COMPILED] == [1] * len(COMPILED)
    assert steps.decode_first_chunk._cache_size() == steps.decode_next_chunk._cache_size() == 1
    mesh = model.mesh()
    assert mesh.size == math.prod(lengths.values())
    for x_0, caches in seen:
        assert fits(x_0, mesh) and fits(caches.fill, mesh)
        for kept in (caches.frames.keys, caches.frames.values):
            assert fits(kept, mesh, None, None, "tensor")
        for kept in (caches.text.keys, caches.text.values):
            assert fits(kept, mesh, None, None, None, "tensor")
    assert fits(model.params["dit"]["blocks"]["ffn_in"]["kernel"], mesh, None, None, "tensor")
    assert fits(model.params["text"]["blocks"]["o"]["kernel"], mesh, None, "tensor")
    place = made[-1].story.shots[0].latents[0].devices()
    assert place == (
        {jax.devices()[2]} if lengths == {"tensor": 2} else set(jax.devices()[: mesh.size])
    )
    assert jax.sharding.get_abstract_mesh().empty  # the caller's own work is left alone


def test_stories_over_the_data_axis(alone):
    model = on_mesh(MODEL, data=2, tensor=2)
    stories = [
        (stream.new_story(model, "A fox.", 3), CAPTIONS[:1]),
        (stream.new_story(model, seed=4), ["a hen"]),
    ]
    made = [chunk for which, chunk in side_by_side.stream_stories(model, stories) if which == 0]
    assert_same(made, alone[: len(made)])
    with pytest.raises(InputError, match=r"1 stories do not divide over mesh.data=2"):
        run(model)


def test_no_cache_is_sent():
    """The largest single collective of a chunk is smaller than one layer's keys on one device."""
    model = on_mesh(
        tiny_model(tiny_preset(MemoryConfig(context=4, chunk=2, window=12))), sequence=2, tensor=2
    )
    preset, grid = model.preset, (4, 6)
    noise = jnp.zeros(
        (len(preset.steps.nominal), 1, preset.memory.chunk, *grid, preset.dit.channels)
    )
    ids = FrameIds(*(jnp.zeros((1, preset.memory.chunk), jnp.int32) for _ in range(2)))
    with model.on_mesh():
        caches = steps.new_caches(model.student, 1, *grid)
        arguments = model.student, model.params["dit"], noise, ids, caches, preset.steps
        program = steps.chunk_step.lower(*arguments).compile()
    found = count_collectives(program.as_text())
    mine = caches.frames.keys.addressable_shards[0].data.nbytes
    assert 2 * mine == caches.frames.keys.nbytes  # tensor
    a_layer = mine // preset.dit.layers
    assert 0 < found.largest < a_layer
    assert found.count["all-reduce"] > 0  # tensor …
    assert found.count["all-gather"] > 0  # … and sequence are there
    donated = sum(a.addressable_shards[0].data.nbytes for a in jax.tree.leaves(caches))
    assert program.memory_analysis().alias_size_in_bytes >= donated


def test_each_device_decodes_its_rows():
    """Each of four devices does a quarter of the work.

    Only the rows at the edges and the attention in the middle block are sent.
    """
    model, latents = (
        on_mesh(MODEL, sequence=2, tensor=2),
        jnp.ones((1, 2, 16, 24, MODEL.preset.dit.channels)),
    )
    alone = steps.decode_first_chunk.lower(MODEL.vae, MODEL.params["vae"], latents).compile()
    with model.on_mesh("vae"):
        shared = steps.decode_first_chunk.lower(model.vae, model.params["vae"], latents).compile()
        stream, frames, pixels = steps.decode_first_chunk(model.vae, model.params["vae"], latents)
    assert shared.cost_analysis()["flops"] < 0.35 * alone.cost_analysis()["flops"]
    for rows in (frames, pixels, *jax.tree.leaves(stream)):
        assert fits(rows, model.mesh(), None, None, ("sequence", "tensor"))
    middle = latents[..., 0].nbytes * MODEL.preset.vae.decoder_dims[0]
    assert count_collectives(shared.as_text()).largest == middle  # the keys of its attention


@pytest.mark.parametrize(
    "lengths, message",
    [
        ({"tensor": 8}, "2 heads do not divide over mesh.tensor=8: choose a divisor of 2"),
        (
            {"sequence": 4},
            "a frame's 6 tokens do not divide over mesh.sequence=4: choose a divisor of 6",
        ),
        ({"sequence": 16}, "a mesh of sequence=16 needs 16 devices, there are 8"),
    ],
)
def test_mistakes_are_one_line(lengths, message):
    with pytest.raises(InputError, match=message):
        stream.stream_generate(on_mesh(MODEL, **lengths), CAPTIONS)
