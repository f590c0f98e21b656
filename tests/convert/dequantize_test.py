"""Weights in 8 bits: every form's values by hand, what is refused and by which name."""

import json

import ml_dtypes
import numpy as np
import pytest

from shotstream_jax.convert.dequantize import dequantize
from shotstream_jax.convert.files import read_metadata, read_safetensors
from shotstream_jax.core.errors import InputError
from tests.convert.containers import write_safetensors_file

E4M3, E5M2 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2)
RNG = np.random.default_rng(0)
PREFIXES = ("", "model.diffusion_model.")
LAYER = "blocks.0.self_attn.q"


def numbers(dtype, shape=(4, 6)) -> np.ndarray:
    return (RNG.standard_normal(shape) * 30).astype(dtype)


def right_value(weight, scale) -> np.ndarray:
    """Written as loops, from FILES' general rule."""
    want = np.empty(weight.shape, np.float32)
    flat, out = (
        weight.astype(np.float32).reshape(weight.shape[0], -1),
        want.reshape(weight.shape[0], -1),
    )
    per_output = np.broadcast_to(
        scale.astype(np.float32).reshape(scale.shape[0] if scale.size > 1 else 1, -1),
        (len(flat), max(scale.size // len(flat), 1)),
    )
    width = flat.shape[1] // per_output.shape[1]
    for row in range(len(flat)):
        for column in range(flat.shape[1]):
            out[row, column] = flat[row, column] * per_output[row, column // width]
    return want


def there_and_back(tmp_path, state, metadata=None):
    """Through a file, as it is used."""
    write_safetensors_file(tmp_path / "x.safetensors", state, metadata)
    done = dequantize(
        read_safetensors(tmp_path / "x.safetensors"), read_metadata(tmp_path / "x.safetensors")
    )
    return {name: np.asarray(array) for name, array in done.state.items()}, done.notes


@pytest.mark.parametrize(
    "scale_shape", [(), (1,), (1, 1), (4, 1), (4,), (4, 3, 1), (4, 1, 1)], ids=str
)
@pytest.mark.parametrize("dtype", [E4M3, E5M2, np.dtype(np.int8)], ids=str)
@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_scales_of_all_shapes(tmp_path, scale_shape, dtype, ending, prefix):
    weight, scale = numbers(dtype), RNG.random(scale_shape).astype(np.float32) + 0.1
    bias = RNG.standard_normal(4).astype(ml_dtypes.bfloat16)
    got, notes = there_and_back(
        tmp_path,
        {
            f"{prefix}{LAYER}.weight": weight,
            f"{prefix}{LAYER}.{ending}": scale,
            f"{prefix}{LAYER}.bias": bias,
            f"{prefix}{LAYER}.scale_input": np.float32(3),
            f"{prefix}{LAYER}.input_scale": np.float32(3),
        },
    )
    assert got.keys() == {f"{prefix}{LAYER}.weight", f"{prefix}{LAYER}.bias"}
    assert got[f"{prefix}{LAYER}.weight"].dtype == np.float32
    np.testing.assert_array_equal(got[f"{prefix}{LAYER}.weight"], right_value(weight, scale))
    assert got[f"{prefix}{LAYER}.bias"].dtype == bias.dtype
    assert notes == [f"1 weights in {dtype.name} with scales: read as float32"]


@pytest.mark.parametrize("scale_shape", [(4, 1, 1, 1, 1), (4, 1), (4, 2, 1)], ids=str)
def test_convolutions(tmp_path, scale_shape):
    weight, scale = (
        numbers(E4M3, (4, 2, 1, 2, 2)),
        RNG.random(scale_shape).astype(ml_dtypes.bfloat16),
    )
    got, _ = there_and_back(tmp_path, {"p.weight": weight, "p.scale_weight": scale})
    np.testing.assert_array_equal(got["p.weight"], right_value(weight, scale))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "marker",
    [np.zeros(0, E4M3), np.zeros(2, E5M2), np.zeros(2, np.float32)],
    ids=["0", "2", "float"],
)
def test_the_marker_of_scaled_files(tmp_path, prefix, marker):
    weight = numbers(E4M3)
    state = {
        f"{prefix}scaled_fp8": marker,
        f"{prefix}{LAYER}.weight": weight,
        "text.x.weight": numbers(E5M2),
    }
    with pytest.raises(
        InputError, match="says that the weights have scales, and none is there: they were lost"
    ):
        there_and_back(tmp_path, state)
    state |= {f"{prefix}{LAYER}.scale_weight": np.float32(2)}
    if prefix:
        # What another part's marker does not cover may be a plain cast.
        got, _ = there_and_back(tmp_path, state)
        assert set(got) == {f"{prefix}{LAYER}.weight", "text.x.weight"}
    state |= {f"{prefix}blocks.1.x.weight": weight}
    with pytest.raises(InputError, match=r"the scale of .*blocks.1.x.weight is missing"):
        there_and_back(tmp_path, state)


@pytest.mark.parametrize("dtype", [E4M3, E5M2], ids=str)
def test_a_plain_cast_is_exact_and_said(tmp_path, dtype):
    """All 256 values of the type; nan where it is nan."""
    every = np.arange(256, dtype=np.uint8).view(dtype)
    got, notes = there_and_back(tmp_path, {"x.weight": every, "x.bias": np.ones(2, np.float32)})
    assert got["x.weight"].dtype == ml_dtypes.bfloat16 and got["x.bias"].dtype == np.float32
    np.testing.assert_array_equal(got["x.weight"].astype(np.float32), every.astype(np.float32))
    assert (
        len(notes) == 1
        and f"1 weights in {dtype.name} without scales" in notes[0]
        and "lost" in notes[0]
    )


def as_bytes(value) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


LAYERS = {LAYER: {"format": "float8_e4m3fn"}}
HEADER = json.dumps({"format_version": "1.0", "layers": LAYERS})
FORMS = {
    "array": ({f"{LAYER}.comfy_quant": as_bytes(LAYERS[LAYER])}, {}),
    "header": ({}, {"_quantization_metadata": HEADER}),
    "doubled outside": ({}, {"_quantization_metadata": "{" + HEADER + "}"}),
    "all doubled": ({}, {"_quantization_metadata": HEADER.replace("{", "{{").replace("}", "}}")}),
    "text in a text": ({}, {"_quantization_metadata": json.dumps(HEADER)}),
    "within itself": (
        {},
        {"_quantization_metadata": json.dumps({"_quantization_metadata": json.loads(HEADER)})},
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_second_form_of_comfyui(tmp_path, form, prefix):
    arrays, metadata = FORMS[form]
    weight = numbers(E4M3)
    state = {prefix + name: array for name, array in arrays.items()}
    state |= {f"{prefix}{LAYER}.weight": weight, f"{prefix}{LAYER}.weight_scale": np.float32(0.5)}
    got, _ = there_and_back(tmp_path, state, metadata)
    assert got.keys() == {f"{prefix}{LAYER}.weight"}
    np.testing.assert_array_equal(got[f"{prefix}{LAYER}.weight"], weight.astype(np.float32) * 0.5)
    # The weight must be what it is said to be, and have its scale.
    with pytest.raises(
        InputError, match=r"q.weight is int8, the file says that it is float8_e4m3fn"
    ):
        there_and_back(tmp_path, state | {f"{prefix}{LAYER}.weight": numbers(np.int8)}, metadata)
    state.pop(f"{prefix}{LAYER}.weight_scale")
    with pytest.raises(InputError, match=r"q.weight_scale is missing"):
        there_and_back(tmp_path, state, metadata)


@pytest.mark.parametrize(
    "said",
    [{"format": f} for f in ("nvfp4", "mxfp8", "int8_blockwise", "convrot_w4a4", "new")]
    + [{"format": "int8_tensorwise", "convrot": True}],
)
@pytest.mark.parametrize("in_header", [True, False])
def test_other_formats_are_refused_by_name(tmp_path, said, in_header):
    state = {f"{LAYER}.weight": numbers(np.int8), f"{LAYER}.weight_scale": np.float32(1)}
    metadata = (
        {"_quantization_metadata": json.dumps({"layers": {LAYER: said}})} if in_header else {}
    )
    if not in_header:
        state[f"{LAYER}.comfy_quant"] = as_bytes(said)
    with pytest.raises(
        InputError, match=rf"{LAYER} has the format {said['format']}.*not read.*take the file"
    ):
        there_and_back(tmp_path, state, metadata)


def test_quanto(tmp_path):
    weight, scale = numbers(np.int8), RNG.random((4, 1)).astype(ml_dtypes.bfloat16)
    state = {
        f"{LAYER}.weight._data": weight,
        f"{LAYER}.weight._scale": scale,
        f"{LAYER}.input_scale": np.ones((), np.float32),
        f"{LAYER}.output_scale": np.ones((), np.float32),
    }
    got, _ = there_and_back(tmp_path, state)
    assert got.keys() == {f"{LAYER}.weight"}
    np.testing.assert_array_equal(got[f"{LAYER}.weight"], right_value(weight, scale))
    with pytest.raises(InputError, match="twice"):
        there_and_back(tmp_path, state | {f"{LAYER}.weight": scale})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"q.int8_weight": numbers(np.int8), "q.scale": np.float32(1)}, "TurboDiffusion"),
        (
            {"b.self_attn.attn_op.local_attn.proj_l.weight": np.ones((2, 2), np.float32)},
            "TurboDiffusion",
        ),
        (
            {"net.patch_embedding.weight": np.ones((8, 64), np.float32)},
            r"patch_embedding.weight \[8, 64\].*TurboDiffusion",
        ),
        (
            {
                "q.weight": numbers(np.uint8),
                "q.weight_scale": numbers(E4M3),
                "q.weight_scale_2": np.float32(1),
            },
            "nvfp4",
        ),
        ({"q.weight": numbers(np.uint8), "q.weight_global_scale": np.float32(1)}, "nvfp4"),
        ({"q.weight": numbers(E4M3), "q.weight_scale": numbers(np.uint8)}, "mxfp8"),
        (
            {"q.weight": numbers(E4M3), "q.weight_scale_inv": np.ones((1, 1), np.float32)},
            "scales for blocks of outputs",
        ),
        (
            {"q.weight": numbers(np.uint8), "q.weight.absmax": np.ones(2, np.float32)},
            "bitsandbytes",
        ),
        (
            {
                "q.weight._data": numbers(np.int8),
                "q.weight._scale": np.float32(1),
                "q.weight._shift": np.float32(1),
            },
            "Quanto with 4 bits",
        ),
        (
            {"q.weight": numbers(np.int8), "q.weight_scale": np.ones((6, 1), np.float32)},
            r"weight_scale \[6, 1\] does not fit q.weight \[4, 6\]",
        ),
        (
            {"q.weight": numbers(np.int8), "q.weight_scale": np.ones((4, 4, 1), np.float32)},
            "does not fit",
        ),
        (
            {"q.weight": numbers(np.int8), "q.weight_scale": np.ones((4, 3), np.float32)},
            "does not fit",
        ),
        (
            {"q.weight": numbers(np.int8), "q.weight_scale": np.ones((0,), np.float32)},
            "does not fit",
        ),
        ({"q.weight": numbers(np.int8)}, "the scale of q.weight is missing"),
        (
            {
                "q.weight": numbers(E4M3),
                "q.scale_weight": np.float32(1),
                "q.weight_scale": np.float32(1),
            },
            "two scales",
        ),
        ({"q.weight": numbers(np.uint8), "q.scale_weight": np.float32(1)}, "q.weight is uint8"),
        (
            {"q.weight": numbers(E4M3), "q.scale_weight": np.float32(1), "k.weight": numbers(E4M3)},
            "the scale of k.weight is missing",
        ),
        (
            {"q.weight": numbers(E4M3), "q.comfy_quant": np.frombuffer(b"{", np.uint8)},
            "comfy_quant holds no JSON",
        ),
        ({"q.weight": numbers(E4M3), "q.comfy_quant": as_bytes(7)}, "has no format"),
        (
            {"q.weight": numbers(E4M3), "q.comfy_quant": np.ones((2, 2), np.float32)},
            "expected some bytes",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_not_read_is_named(tmp_path, state, message):
    with pytest.raises(InputError, match=message):
        there_and_back(tmp_path, state)


@pytest.mark.parametrize("text", ["{", "7", '{"layers": 3}', "[" * 10_000])
def test_a_header_without_layers_is_named(tmp_path, text):
    with pytest.raises(InputError, match="_quantization_metadata"):
        there_and_back(tmp_path, {"q.weight": numbers(E4M3)}, {"_quantization_metadata": text})


def test_what_is_no_weight_in_8_bits_stays(tmp_path):
    state = {
        "spiece_model": np.arange(9, dtype=np.uint8),
        "x.weight": np.ones((2, 2), np.float16),
        "steps": np.array(3),
        "lonely.scale_weight": np.float32(1),
        "lonely.input_scale": np.float32(1),
    }
    got, notes = there_and_back(tmp_path, state)
    assert got.keys() == state.keys() and not notes
    for name, array in state.items():
        assert got[name].dtype == array.dtype and np.array_equal(got[name], array)


def test_nothing_is_read_before_it_is_used():
    class Unread:
        shape, dtype = (4, 6), E4M3

        def __array__(self, dtype=None, copy=None):
            raise AssertionError("read")

    done = dequantize({"q.weight": Unread(), "q.scale_weight": np.float32(2)}, {})
    assert done.state["q.weight"].shape == (4, 6)
