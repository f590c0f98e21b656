"""Random state dicts × containers × types × scales: written as the formats say, and read back.

The writers are the tests' own (containers.py); right values follow from eq. (1) of dequantize.
"""

import math
import pathlib
import tempfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shotstream_jax.convert import public
from shotstream_jax.convert.dequantize import dequantize
from shotstream_jax.convert.files import read_metadata
from tests.convert.containers import (
    Storage,
    Tensor,
    q8_0_blocks,
    stand_in,
    write_gguf_file,
    write_safetensors_file,
    write_torch_old,
    write_torch_zip,
)

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
FLOATS = ["float32", "float16", "bfloat16", "float64"]
FLOAT8 = ["float8_e4m3fn", "float8_e5m2"]
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}

seeds = st.integers(0, 2**32 - 1)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
)
prefixes = st.sampled_from(["", "model.", "model.diffusion_model.", "x.y."])
shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)


def dtype_of(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def values(seed: int, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Any bits of the type, but for bool, of which there are two."""
    rng = np.random.default_rng(seed)
    if name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    dtype = dtype_of(name)
    return np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def same_bits(got: np.ndarray, want: np.ndarray) -> bool:
    return got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


def as_tensor(key: str, array: np.ndarray, seed: int, old: bool) -> Tensor:
    """A tensor somewhere in a larger storage, its axes in a random order there."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(array.ndim)
    stored = np.ascontiguousarray(array.transpose(order))
    strides = np.empty(array.ndim, int)
    strides[order] = [step // array.itemsize for step in stored.strides]
    before = int(rng.integers(0, 5))
    flat = np.concatenate([values(seed, (before,), array.dtype.name), stored.reshape(-1)])
    place = (before, array.shape, tuple(strides.tolist()), False, {})
    if array.dtype.name in STORAGES:
        return Tensor("_rebuild_tensor_v2", Storage(flat, key, STORAGES[array.dtype.name]), *place)
    storage = Storage(flat, key, "UntypedStorage")
    return Tensor("_rebuild_tensor_v3", storage, *place, stand_in("torch", array.dtype.name))


def open_written(write, *content) -> tuple[dict, dict]:
    """What is read of a file: {key: {name: array}}, and its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x"
        write(path, *content)
        opened = public.open_file(path)
        read = {}
        for key, state in opened.items():
            if public.is_state(state):
                read[key] = {name: np.asarray(array).copy() for name, array in state.items()}
        return read, read_metadata(path)


@QUICK
@given(
    st.dictionaries(
        names.filter(lambda n: n != "__metadata__"),
        st.tuples(seeds, shapes, st.sampled_from([*STORAGES, *FLOAT8])),
        min_size=1,
        max_size=6,
    ),
    st.dictionaries(names, names),
)
def test_safetensors(described, metadata):
    state = {name: values(*what) for name, what in described.items()}
    read, texts = open_written(write_safetensors_file, state, metadata)
    assert read[""].keys() == state.keys() and texts == metadata
    assert all(same_bits(read[""][name], array) for name, array in state.items())


@QUICK
@given(
    st.dictionaries(
        names,
        st.tuples(seeds, shapes, st.sampled_from([*STORAGES, *FLOAT8])),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["generator", "generator_ema", "model", ""]),
    st.booleans(),
)
def test_torch(described, wrapper, old):
    state, tensors = {}, {}
    for number, (name, (seed, shape, dtype)) in enumerate(described.items()):
        # Types without a storage of their own came after the old format.
        state[name] = values(seed, shape, "float16" if old and dtype in FLOAT8 else dtype)
        tensors[name] = as_tensor(str(number), state[name], seed, old)
    content = {wrapper: tensors, "step": 3} if wrapper else tensors
    read, _ = open_written(write_torch_old if old else write_torch_zip, content)
    assert read[wrapper].keys() == state.keys()
    assert all(same_bits(read[wrapper][name], array) for name, array in state.items())


@QUICK
@given(
    st.dictionaries(
        names,
        st.tuples(
            seeds,
            st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
            st.sampled_from([*FLOATS, "int8", "int32", "Q8_0"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_gguf(described):
    pytest.importorskip("gguf")
    state, quantised, want = {}, {}, {}
    for name, (seed, shape, kind) in described.items():
        if kind != "Q8_0":
            want[name] = state[name] = values(seed, shape, kind)
            continue
        shape = (*shape[:-1], 32 * shape[-1])
        numbers = values(seed, (math.prod(shape) // 32, 32), "int8")
        scales = np.random.default_rng(seed).random(len(numbers)).astype(np.float16)
        quantised[name] = q8_0_blocks(numbers, scales)
        state[name] = np.empty(shape, np.float32)
        wide = numbers.astype(np.float32) * scales.astype(np.float32)[:, None]
        want[name] = wide.reshape(shape)
    read, _ = open_written(write_gguf_file, state, quantised)
    assert read[""].keys() == want.keys()
    assert all(same_bits(read[""][name], array) for name, array in want.items())


@st.composite
def layers(draw):
    """A layer's weight in 8 bits, its scale, and what both are worth by eq. (1)."""
    out, blocks, width = (draw(st.integers(1, 5)) for _ in range(3))
    scale_shape = draw(st.sampled_from([(), (1,), (out, 1), (out, blocks, 1)]))
    rng = np.random.default_rng(draw(seeds))
    weight = (rng.standard_normal((out, blocks, width)) * 20).astype(
        dtype_of(draw(st.sampled_from([*FLOAT8, "int8"])))
    )
    scale = (rng.random(scale_shape) + 0.1).astype(
        dtype_of(draw(st.sampled_from(["float32", "bfloat16"])))
    )
    spread = np.broadcast_to(
        scale.astype(np.float32).reshape(
            (*scale.shape[:2], *[1] * (3 - min(scale.ndim, 2)))[:3] if scale.ndim > 1 else (1, 1, 1)
        ),
        weight.shape,
    )
    want = weight.astype(np.float32) * spread
    return weight.reshape(out, -1), scale, want.reshape(out, -1)


@QUICK
@given(
    st.lists(layers(), min_size=1, max_size=4),
    prefixes,
    st.sampled_from(["scale_weight", "weight_scale", "weight._scale"]),
    st.sampled_from(["safetensors", "torch"]),
    st.booleans(),
)
def test_scaled_weights(drawn, prefix, ending, container, marked):
    state, want = {}, {}
    for number, (weight, scale, right) in enumerate(drawn):
        layer = f"{prefix}blocks.{number}.q"
        state[f"{layer}.weight{'._data' if ending == 'weight._scale' else ''}"] = weight
        state[f"{layer}.{ending}"] = scale
        state[f"{layer}.bias"] = want[f"{layer}.bias"] = np.ones(2, np.float16)
        want[f"{layer}.weight"] = right
    if marked:
        state[f"{prefix}scaled_fp8"] = np.zeros(2, dtype_of("float8_e4m3fn"))
    if container == "safetensors":
        read, metadata = open_written(write_safetensors_file, state)
    else:
        tensors = {
            name: as_tensor(str(i), array, i, False)
            for i, (name, array) in enumerate(state.items())
        }
        read, metadata = open_written(write_torch_zip, tensors)
    done = dequantize(read[""], metadata)
    assert done.state.keys() == want.keys()
    for name, right in want.items():
        got = np.asarray(done.state[name])
        assert got.dtype == right.dtype and np.array_equal(got, right), name
