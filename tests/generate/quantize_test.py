"""Streaming with 8-bit matmuls.

The result is close to the unrounded stream, the values are 8 bits wide in memory and in the
program, and a mesh gives the same.
"""

import dataclasses
import functools
import re

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from shotstream_jax.checkpoint.checkpoint import open_checkpoint
from shotstream_jax.checkpoint.load import load
from shotstream_jax.checkpoint.save import save
from shotstream_jax.convert import __main__ as convert
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.dit.lora import adapted_kernels
from shotstream_jax.generate import shot as steps
from shotstream_jax.generate.calibrate import largest_inputs
from shotstream_jax.generate.stream import stream_generate
from shotstream_jax.memory.cache import FrameIds
from shotstream_jax.model import Model, random_params
from shotstream_jax.nn.quantize import quantize_blocks
from shotstream_jax.testing import cast, tiny_model, tiny_preset

MODEL = tiny_model()
# Largest relative error of a chunk's latents.
BOUND = {"int8": 0.015, "fp8": 0.04}
MESH = {"fsdp": 2, "sequence": 2, "tensor": 2}
DOT = re.compile(
    r"\.dot_general.*: \(tensor<([\dx]+)x(\w+)>, tensor<([\dx]+)x(\w+)>\) -> tensor<[\dx]+x(\w+)>"
)
# The captions' keys and values are in the cache, so a chunk step is not even given their weights.
UNUSED = {("cross_attn", "k"), ("cross_attn", "v")}
NAMES = {"int8": ("i8", "i32"), "fp8": ("f8E4M3FN", "f32")}


@functools.cache
def quantized(to: str, dtype: str = "float32") -> Model:
    kind = jnp.dtype(dtype)
    params = cast(random_params(tiny_preset(), 0), kind)
    return dataclasses.replace(
        MODEL, params=params | {"dit": quantize_blocks(params["dit"], to)}, dtype=kind
    )


def arguments(model: Model) -> tuple:
    """Of a chunk step at the start of a shot."""
    preset, grid = model.preset, (4, 6)
    shape = (len(preset.steps.nominal), 1, preset.memory.chunk, *grid, preset.dit.channels)
    ids = FrameIds(*(jnp.ones((1, preset.memory.chunk), jnp.int32) for _ in range(2)))
    caches = model.student.init_caches(1, *grid)
    return (
        model.student,
        model.params["dit"],
        jax.random.normal(jax.random.key(0), shape),
        ids,
        caches,
        preset.steps,
    )


@functools.cache
def compiled(to: str, dtype: str = "float32") -> tuple[jax.stages.Compiled, np.ndarray]:
    """A chunk step and the latents that it makes."""
    given = arguments(quantized(to, dtype))
    program = steps.chunk_step.lower(*given).compile()
    return program, np.asarray(program(*given[1:-1])[0])


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("to", BOUND)
def test_a_chunk_is_near_the_unrounded_one(to, dtype):
    error = relative(compiled(to, dtype)[1], compiled("none")[1])
    assert BOUND[to] / 10 < error < BOUND[to]


@pytest.mark.parametrize("to", BOUND)
def test_weights_have_8_bits_in_the_compiled_program(to):
    size = lambda to: compiled(to)[0].memory_analysis().argument_size_in_bytes  # noqa: E731
    saved = 0
    for path, before in adapted_kernels(MODEL.params["dit"]).items():
        kernel = flax.traverse_util.flatten_dict(quantized(to).params["dit"]["blocks"])[
            (*path, "kernel")
        ]
        layers, inputs, outputs = before.shape
        assert kernel.qvalue.dtype.itemsize == 1 and kernel.qvalue.shape == (
            layers,
            outputs,
            inputs,
        )
        assert kernel.scale.shape == (layers, outputs, 1)
        if path not in UNUSED:
            saved += before.nbytes - kernel.qvalue.nbytes - kernel.scale.nbytes
    assert size("none") - size(to) == saved > 0


def test_a_story_streams():
    model, captions = quantized("int8"), ["a fox wakes", "it runs"]
    chunks = list(stream_generate(model, captions, seed=3))
    assert [(c.shot, c.chunk) for c in chunks] == [(s, c) for s in range(2) for c in range(3)]
    again = list(stream_generate(model, captions, seed=3))
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(chunks, again, strict=True))
    assert all(np.isfinite(c.latents).all() for c in chunks)


@pytest.mark.parametrize("platform", ["cuda", "tpu", "cpu"])
@pytest.mark.parametrize("to", NAMES)
def test_the_programs_matmuls_are_of_8_bits(to, platform):
    text = (
        steps.chunk_step.trace(*arguments(quantized(to)))
        .lower(lowering_platforms=(platform,))
        .as_text()
    )
    cfg, narrow = MODEL.preset.dit, NAMES[to]
    dots = DOT.findall(text)
    # A layer has q, k, v and o of self-attention, q and o of cross-attention (its keys and values
    # are in the cache), and two matmuls of the MLP.
    assert [(a, b, c) for _, a, _, b, c in dots if a == narrow[0]] == [(narrow[0], *narrow)] * 8
    mlp = {f"{cfg.dim}x{cfg.ffn_dim}", f"{cfg.ffn_dim}x{cfg.dim}"}
    assert {b for _, _, shape, b, _ in dots if shape in mlp} == {narrow[0]}
    assert {a for _, a, _, b, _ in dots if a != narrow[0]} == {"f32"}


@pytest.mark.parametrize("to", BOUND)
def test_a_checkpoint_is_rounded_as_it_is_loaded_alike_on_one_device_and_on_eight(to, tmp_path):
    save(MODEL, tmp_path / "model")
    one = load(tmp_path / "model", quantize=to)
    assert to in one.origin
    mesh = make_mesh(MESH)
    eight = load(tmp_path / "model", quantize=to, mesh=mesh)
    jax.tree.map(np.testing.assert_array_equal, one.params, eight.params)
    jax.tree.map(np.testing.assert_array_equal, one.params["dit"], quantized(to).params["dit"])
    blocks = eight.params["dit"]["blocks"]
    assert blocks["ffn_in"]["kernel"].qvalue.sharding.spec == PartitionSpec(None, "tensor", "fsdp")
    assert blocks["ffn_in"]["kernel"].scale.sharding.spec == PartitionSpec(None, "tensor", None)
    assert blocks["ffn_out"]["kernel"].scale.sharding.spec == PartitionSpec(None, "fsdp", None)
    with jax.set_mesh(mesh):
        on_mesh, _ = steps.chunk_step(*arguments(eight))
    assert relative(np.asarray(on_mesh), compiled(to)[1]) < 1e-3


@functools.cache
def seen() -> dict[str, list[float]]:
    """The largest inputs of a story."""
    return largest_inputs(MODEL, [("foxes", ["a fox wakes", "it runs"])])


def test_a_calibration_sees_every_linear_of_every_layer():
    layers = MODEL.preset.dit.layers
    names = {"/".join(path) for path in adapted_kernels(MODEL.params["dit"])}
    assert set(seen()) == names
    assert all(len(found) == layers and min(found) > 0 for found in seen().values())
    # All passes count: with another story nothing gets smaller.
    longer = largest_inputs(MODEL, [("foxes", ["a fox wakes", "it runs"]), ("", ["a mouse"])])
    assert all(np.all(np.array(longer[name]) >= seen()[name]) for name in names)
    # The three Linears of self-attention read the same.
    assert seen()["self_attn/q"] == seen()["self_attn/k"] == seen()["self_attn/v"]
    # The watched stream is the unwatched one: it is the same arithmetic.
    with pytest.raises(InputError, match="rounded to 8 bits already"):
        largest_inputs(quantized("int8"), [("", ["a fox"])])


@pytest.mark.parametrize("to", BOUND)
def test_a_calibrated_chunk_is_near_the_unrounded_one(to):
    calibrated = quantize_blocks(MODEL.params["dit"], to, seen())
    model = dataclasses.replace(MODEL, params=MODEL.params | {"dit": calibrated})
    given = arguments(model)
    latents = np.asarray(steps.chunk_step(*given)[0])
    # One scale for all tokens: up to twice as far as with one for each.
    assert BOUND[to] / 10 < relative(latents, compiled("none")[1]) < 2 * BOUND[to]


def test_convert_quantize_writes_the_scales_that_load_reads(tmp_path):
    save(MODEL, tmp_path / "model")
    story = tmp_path / "story.json"
    story.write_text('{"global_caption": "foxes", "shot1": "a fox wakes", "shot2": "it runs"}')
    words = ["quantize", str(tmp_path / "model"), "--story", str(story), "--dtype", "float32"]
    convert.main([*words, "--out", str(tmp_path / "calibrated")])
    opened = open_checkpoint(tmp_path / "calibrated")
    assert opened.largest_inputs == seen()
    model = load(opened, quantize="int8")
    kernel = model.params["dit"]["blocks"]["ffn_in"]["kernel"]
    np.testing.assert_allclose(
        kernel.input_scale[:, 0, 0], np.array(seen()["ffn_in"]) / 127, rtol=1e-6
    )
    # Unrounded it is the same model; and a folder that is there is not written over.
    jax.tree.map(np.testing.assert_array_equal, load(opened).params, MODEL.params)
    with pytest.raises(InputError, match="exists already"):
        convert.main([*words, "--out", str(tmp_path / "calibrated")])


def test_rounded_weights_are_not_saved(tmp_path):
    with pytest.raises(InputError, match="rounded to 8 bits: load it with quantize='none'"):
        save(quantized("int8"), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_one_line():
    with pytest.raises(
        InputError, match="quantize 'int4' is not known; choose one of none, int8, fp8"
    ):
        load("tiny", quantize="int4")
