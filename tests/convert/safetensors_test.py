"""`.safetensors` files: every type that is read, texts in the header, and headers that lie."""

import json
import pathlib
import struct

import ml_dtypes
import numpy as np
import pytest

from shotstream_jax.checkpoint.arrays import open_file_arrays
from shotstream_jax.checkpoint.header import FILE_TYPES
from shotstream_jax.convert.files import read_metadata, read_safetensors, write_safetensors
from shotstream_jax.core.errors import InputError


def write_raw(path: pathlib.Path, header: dict | bytes, data: bytes = b"", length=None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("type_name", FILE_TYPES)
def test_every_type_is_read(tmp_path, type_name):
    dtype = FILE_TYPES[type_name]
    values = np.arange(6).reshape(2, 3).astype(dtype)
    write_raw(
        tmp_path / "x.safetensors",
        {"x": entry(type_name, (2, 3), (0, values.nbytes))},
        values.tobytes(),
    )
    read = read_safetensors(tmp_path / "x.safetensors")["x"]
    assert read.dtype == dtype and np.array_equal(np.asarray(read), values)
    stored = open_file_arrays(tmp_path / "x.safetensors")["x"]
    assert np.array_equal(stored.read((slice(0, 2), slice(1, 3))), values[:, 1:])
    assert np.array_equal(stored.read(1), values[1])
    write_safetensors({"x": read}, tmp_path / "y.safetensors", lambda _: None)
    assert np.array_equal(np.asarray(read_safetensors(tmp_path / "y.safetensors")["x"]), values)


def test_arrays_that_are_not_aligned_or_empty(tmp_path):
    """A 2-byte array from an odd byte on, one without entries, one without axes."""
    values = np.arange(3).astype(ml_dtypes.bfloat16)
    header = {
        "marker": entry("U8", (1,), (0, 1)),
        "x": entry("BF16", (3,), (1, 7)),
        "empty": entry("F8_E4M3", (0, 4), (7, 7)),
        "scalar": entry("F32", (), (7, 11)),
    }
    write_raw(
        tmp_path / "x.safetensors", header, b"\1" + values.tobytes() + np.float32(5).tobytes()
    )
    stored = open_file_arrays(tmp_path / "x.safetensors")
    assert np.array_equal(stored["x"].read(), values)
    assert np.array_equal(stored["x"].read(slice(1, 3)), values[1:])
    assert stored["empty"].read().shape == (0, 4) and stored["empty"].read(slice(0, 0)).shape == (
        0,
        4,
    )
    assert stored["scalar"].read() == 5


def test_metadata(tmp_path):
    path = tmp_path / "x.safetensors"
    write_raw(path, {"__metadata__": {"alpha": "8", "ß": '{"a": 1}'}, "x": entry()}, bytes(8))
    assert read_metadata(path) == {"alpha": "8", "ß": '{"a": 1}'} and list(
        read_safetensors(path)
    ) == ["x"]
    write_raw(path, {"x": entry()}, bytes(8))
    assert read_metadata(path) == {}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"x": entry("F4", (4,), (0, 2))}, r"the type F4 \(4-bit floats.*\), which is not read: x"),
        ({"x": entry("F8_E8M0", (2,), (0, 2))}, r"F8_E8M0 \(scales of mxfp8"),
        ({"x": entry("F9", (2,), (0, 2))}, r"the type F9, which is not read: x"),
        ({"x": entry(offsets=(0, 16))}, "x has 16 bytes for float32"),
        ({"x": entry(shape=(-2,), offsets=(0, -8))}, "x has no shape"),
        ({"x": entry(shape=(True,) * 2)}, "x has no shape"),
        ({"x": entry(shape=(2**62, 0), offsets=(0, 0))}, "x has no shape"),
        ({"x": entry(offsets=(0, 8.0))}, "x has no place in the file"),
        ({"x": entry(), "y": entry()}, "y starts at byte 0 of the data, not at 8"),
        ({"x": entry(), "y": entry(offsets=(12, 20))}, "y starts at byte 12 of the data, not at 8"),
        ({"x": entry(shape=(1,), offsets=(0, 4))}, "its arrays have 4 bytes, the file has 8"),
        ({"x": entry(shape=(4,), offsets=(0, 16))}, "its arrays have 16 bytes, the file has 8"),
        ({"x": 3}, "unreadable or truncated"),
        ({"x": {"dtype": "F32"}}, "unreadable or truncated"),
        ({"__metadata__": {"a": 1}, "x": entry()}, "its metadata are not texts"),
        (
            b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "x": 1}',
            "'x' is there twice",
        ),
        (
            b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
            "unreadable or truncated",
        ),
        (b"[" * 100_000, "unreadable or truncated"),
        (b"[]", "its header is no JSON object"),
        (b"\xff\xfe", "unreadable or truncated"),
        (
            b'{"x": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}',
            "unreadable",
        ),
    ],
)
def test_headers_that_lie_are_one_line(tmp_path, header, message):
    write_raw(tmp_path / "x.safetensors", header, bytes(8))
    with pytest.raises(InputError, match=message):
        read_safetensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("length", [2**63, 2**40, 17])
def test_a_header_longer_than_its_file_is_not_read(tmp_path, length):
    write_raw(tmp_path / "x.safetensors", b"{}", bytes(8), length)
    with pytest.raises(InputError, match=rf"its header should have {length} bytes, the file has"):
        read_safetensors(tmp_path / "x.safetensors")


def test_a_gigantic_header_is_not_parsed(tmp_path):
    with (tmp_path / "x.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 64 * 2**20))
        file.truncate(65 * 2**20)
    with pytest.raises(InputError, match="its header has 64 MB, more than 32 MB"):
        read_safetensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html><head>", "is a web page, not the weights"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "pointer of Git LFS.*git lfs pull",
        ),
        (b"abc", "unreadable or truncated .it has 3 bytes"),
    ],
)
def test_what_is_saved_in_place_of_weights_is_named(tmp_path, content, message):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_safetensors(tmp_path / "x.safetensors")


def test_a_file_that_shrinks_after_it_was_opened_is_one_line(tmp_path):
    path = tmp_path / "x.safetensors"
    write_raw(path, {"x": entry()}, bytes(8))
    state = read_safetensors(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="unreadable or truncated"):
        np.asarray(state["x"])
