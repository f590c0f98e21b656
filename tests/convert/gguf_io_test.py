"""GGUF files: values as the `gguf` package has them, shapes, facts, and headers that lie."""

import struct
import sys

import ml_dtypes
import numpy as np
import pytest

from shotstream_jax.convert import public
from shotstream_jax.convert.gguf_io import read_gguf
from shotstream_jax.core.errors import InputError
from tests.convert.containers import gguf_fact, gguf_info, gguf_text, write_gguf_raw

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (0, "float32"),
        (1, "float16"),
        (30, "bfloat16"),
        (28, "float64"),
        (24, "int8"),
        (26, "int32"),
    ],
)
def test_plain_types_need_no_package(tmp_path, monkeypatch, kind, dtype):
    monkeypatch.setitem(sys.modules, "gguf", None)
    values = RNG.integers(-9, 9, (3, 5)).astype(getattr(ml_dtypes, dtype, None) or dtype)
    path = tmp_path / "x.gguf"
    write_gguf_raw(
        path,
        [gguf_fact("general.architecture", 8, gguf_text("wan"))],
        [gguf_info("w", (3, 5), kind, 32)],
        bytes(32) + values.tobytes(),
    )
    read = read_gguf(path)
    assert read.facts == {"general.architecture": "wan"} and read.types == {"w": dtype}
    assert read.state["w"].dtype == values.dtype and np.array_equal(
        np.asarray(read.state["w"]), values
    )
    assert np.array_equal(np.asarray(public.open_file(path)[""]["w"]), values)


def test_q8_0_by_hand(tmp_path):
    """Blocks of 32: a scale in float16, then int8; the shape is the original one."""
    pytest.importorskip("gguf")
    numbers = RNG.integers(-128, 128, (6, 32)).astype(np.int8)
    scales = RNG.random(6).astype(np.float16)
    data = b"".join(s.tobytes() + n.tobytes() for s, n in zip(scales, numbers, strict=True))
    original = gguf_fact(
        "comfy.gguf.orig_shape.p.weight", 9, struct.pack("<IQ5i", 5, 5, 3, 4, 1, 4, 4)
    )
    write_gguf_raw(tmp_path / "x.gguf", [original], [gguf_info("p.weight", (3, 2, 32), 8, 0)], data)
    read = read_gguf(tmp_path / "x.gguf")
    want = numbers.astype(np.float32) * scales.astype(np.float32)[:, None]
    assert read.types == {"p.weight": "Q8_0"} and read.state["p.weight"].dtype == np.float32
    assert np.array_equal(np.asarray(read.state["p.weight"]), want.reshape(3, 4, 1, 4, 4))


@pytest.mark.parametrize(
    "kind",
    [
        "Q8_0",
        "Q4_0",
        "Q4_1",
        "Q5_0",
        "Q5_1",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "Q2_K",
        "Q3_K",
        "IQ4_NL",
        "TQ1_0",
        "BF16",
        "F16",
    ],
)
def test_the_packages_own_files_and_values(tmp_path, kind, monkeypatch):
    """Several pieces of blocks, as a large array is read."""
    gguf = pytest.importorskip("gguf")
    monkeypatch.setattr("shotstream_jax.convert.gguf_io._PIECE", 1024)
    number = gguf.GGMLQuantizationType[kind]
    block, block_bytes = gguf.GGML_QUANT_SIZES[number]
    # No byte of a scale makes it infinite.
    data = RNG.integers(0, 0x3C, (9, 512 // block * block_bytes)).astype(np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "wan")
    writer.add_array("tokenizer.ggml.tokens", ["a", "ß"])
    writer.add_tensor("x.weight", data, raw_dtype=number)
    writer.add_tensor("x.bias", np.ones(3, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = read_gguf(tmp_path / "x.gguf")
    want = gguf.quants.dequantize(data, number)
    weight = read.state["x.weight"]
    assert weight.shape == (9, 512) and np.asarray(read.state["x.bias"]).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(np.asarray(weight).astype(np.float32), want)
    assert read.facts["tokenizer.ggml.tokens"] == ["a", "ß"]


def test_the_patch_embeddings_single_step_in_time(tmp_path):
    values = np.arange(32, dtype=np.float32)
    write_gguf_raw(
        tmp_path / "x.gguf",
        [],
        [gguf_info("model.patch_embedding.weight", (2, 4, 2, 2), 0, 0)],
        values.tobytes(),
    )
    assert read_gguf(tmp_path / "x.gguf").state["model.patch_embedding.weight"].shape == (
        2,
        4,
        1,
        2,
        2,
    )


ORIGINAL = "comfy.gguf.orig_shape.w"
LIES = {
    "version": (dict(version=1), "its version is 1"),
    "counts": (dict(counts=(2**60, 0)), "its header ends within"),
    "facts": (dict(counts=(0, 2**60)), "its header ends within"),
    "text": (dict(facts=[struct.pack("<Q", 2**62)]), "its header ends within"),
    "list": (
        dict(facts=[gguf_fact("a", 9, struct.pack("<IQ", 0, 2**60))]),
        "its header ends within",
    ),
    "texts": (dict(facts=[gguf_fact("a", 9, struct.pack("<IQ", 8, 2**60))]), "no room for"),
    "lists": (dict(facts=[gguf_fact("a", 9, struct.pack("<IQ", 9, 1))]), "damaged"),
    "type of a fact": (dict(facts=[gguf_fact("a", 99, b"")]), "damaged"),
    "twice": (dict(infos=[gguf_info("w", (1,), 0, 0)] * 2, data=bytes(4)), "'w' is there twice"),
    "fact twice": (dict(facts=[gguf_fact("a", 0, b"1")] * 2), "'a' is there twice"),
    "axes": (dict(infos=[gguf_info("w", (1,) * 9, 0, 0)], data=bytes(4)), "has 9 axes"),
    "shape": (dict(infos=[gguf_info("w", (2**63, 2), 0, 0)], data=bytes(4)), "has the shape"),
    "truncated": (dict(infos=[gguf_info("w", (2,), 0, 0)], data=bytes(4)), "is truncated at w"),
    "offset": (dict(infos=[gguf_info("w", (1,), 0, 2**63)], data=bytes(4)), "is truncated at w"),
    "alignment": (dict(facts=[gguf_fact("general.alignment", 4, bytes(4))]), "its alignment is 0"),
    "original": (
        dict(
            facts=[gguf_fact(ORIGINAL, 9, struct.pack("<IQi", 5, 1, 2))],
            infos=[gguf_info("w", (1,), 0, 0)],
            data=bytes(4),
        ),
        r"the shape \[2\], it has \[1\]",
    ),
    "no original": (
        dict(
            facts=[gguf_fact(ORIGINAL, 8, gguf_text("x"))],
            infos=[gguf_info("w", (1,), 0, 0)],
            data=bytes(4),
        ),
        "has no shape in",
    ),
    "text that is none": (
        dict(facts=[gguf_fact("a", 8, struct.pack("<Q", 1) + b"\xff")]),
        "damaged",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie_are_one_line(tmp_path, lie):
    changes, message = LIES[lie]
    write_gguf_raw(tmp_path / "x.gguf", **changes)
    with pytest.raises(InputError, match=message):
        read_gguf(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (9, "the type Q8_1 in w, which the package gguf does not read"),
        (999, "unknown type 999 in w"),
        (8, "rows of 5 values in w, Q8_0 has blocks of 32"),
    ],
)
def test_quantised_types_that_are_not_read_are_named(tmp_path, kind, message):
    pytest.importorskip("gguf")
    write_gguf_raw(tmp_path / "x.gguf", [], [gguf_info("w", (5,), kind, 0)], bytes(4000))
    with pytest.raises(InputError, match=message):
        read_gguf(tmp_path / "x.gguf")


def test_the_package_is_asked_for_where_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf.constants", None)
    write_gguf_raw(tmp_path / "x.gguf", [], [gguf_info("w", (32,), 8, 0)], bytes(34))
    with pytest.raises(
        InputError, match=r"needs the package gguf, pip install 'shotstream-jax\[gguf\]'"
    ):
        read_gguf(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"GGUF", "damaged, or not a GGUF"),
        (b"garbage", "damaged, or not a GGUF"),
    ],
)
def test_what_is_no_gguf_file_is_named(tmp_path, content, message):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InputError, match=message):
        public.open_file(tmp_path / "x.gguf")


def test_a_container_is_told_by_its_bytes(tmp_path):
    """Whatever a download is called."""
    values = np.arange(3, dtype=np.float32)
    write_gguf_raw(tmp_path / "x.safetensors", [], [gguf_info("w", (3,), 0, 0)], values.tobytes())
    assert np.array_equal(np.asarray(public.open_file(tmp_path / "x.safetensors")[""]["w"]), values)
    from shotstream_jax.convert.files import read_metadata, write_safetensors
    from shotstream_jax.convert.torch_io import write_torch

    write_safetensors({"w": values}, tmp_path / "x.pt", lambda _: None)
    write_torch(tmp_path / "y.safetensors", {"w": values})
    for name in ("x.pt", "y.safetensors"):
        assert np.array_equal(np.asarray(public.open_file(tmp_path / name)[""]["w"]), values)
        assert read_metadata(tmp_path / name) == {}
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(InputError, match=r"x.txt is not a known weight file: expected .*gguf"):
        public.open_file(tmp_path / "x.txt")
