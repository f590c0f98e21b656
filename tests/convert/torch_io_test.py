"""PyTorch's zip format without PyTorch: what is read, what is refused; nothing is executed."""

import collections
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from shotstream_jax.convert.torch_io import read_torch, write_torch
from shotstream_jax.convert.torch_objects import TorchDtype
from shotstream_jax.core.errors import InputError

CONTENT = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bf16": np.arange(4, dtype=ml_dtypes.bfloat16),
    "half": np.ones((1, 2, 2), np.float16),
    "long": np.array([2**40, -1]),
    "flag": np.array(True),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.full((), 1.5, np.float32),
    "double": np.arange(3.0),
    "complex": np.array([1 + 2j], np.complex64),
    "float8": np.arange(6).astype(ml_dtypes.float8_e4m3fn).reshape(3, 2),
    "e5m2": np.arange(6).astype(ml_dtypes.float8_e5m2).reshape(3, 2),
    "uint16": np.arange(3, dtype=np.uint16),
    "type": TorchDtype("bfloat16"),
    "bytes": b"\x00\xff",
    "set": {1, "a"},
    "number": 1 - 2j,
    "nested": {"step": 7, "lr": 1e-6, "names": ["a", None, True], "pair": (1, -5), "big": 2**70},
}


def assert_same(got, want):
    if isinstance(want, np.ndarray):
        got = np.asarray(got)
        assert got.dtype == want.dtype and got.shape == want.shape and np.array_equal(got, want)
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            assert_same(got[key], want[key])
    else:
        assert got == want


@pytest.fixture
def path(tmp_path):
    write_torch(tmp_path / "x.pt", CONTENT)
    return tmp_path / "x.pt"


def test_there_and_back(path):
    assert_same(read_torch(path), CONTENT)
    assert not list(path.parent.glob("*.partial"))


def test_storages_are_aligned_for_mapping(path):
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for info in archive.infolist():
            if "/data/" in info.filename and info.file_size:
                file.seek(info.header_offset + 26)
                name, extra = np.frombuffer(file.read(4), np.uint16)
                assert (info.header_offset + 30 + int(name) + int(extra)) % 64 == 0


def test_pytorch_agrees(path):
    torch = pytest.importorskip("torch", reason="PyTorch is in the `convert` extra only")
    loaded = torch.load(path, weights_only=True, mmap=True)
    assert loaded["bf16"].dtype == torch.bfloat16 and loaded["nested"]["big"] == 2**70
    assert np.array_equal(loaded["float"].numpy(), CONTENT["float"])
    assert loaded["type"] is torch.bfloat16 and loaded["set"] == CONTENT["set"]
    assert loaded["bytes"] == CONTENT["bytes"] and loaded["number"] == CONTENT["number"]
    for key in ("float8", "e5m2"):
        assert np.array_equal(loaded[key].view(torch.uint8).numpy(), CONTENT[key].view(np.uint8))
    base = torch.arange(12.0).reshape(3, 4)
    torch.save({"view": base.T, "part": base[1:, 2:], "parameter": torch.nn.Parameter(base)}, path)
    back = read_torch(path)
    assert np.array_equal(back["view"], base.T.numpy()) and np.array_equal(
        back["part"], base[1:, 2:].numpy()
    )
    assert np.array_equal(back["parameter"], base.numpy())


class Bomb:
    def __reduce__(self):
        return os.mkdir, (self.where,)


def rewrite(path, change):
    """The same zip with one member changed: change(name, data) → data."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def test_code_is_refused_and_not_run(path, tmp_path):
    bomb = Bomb()
    bomb.where = str(tmp_path / "executed")
    rewrite(
        path, lambda name, data: pickle.dumps({"w": bomb}) if name.endswith("data.pkl") else data
    )
    with pytest.raises(
        InputError, match=r"asks for (posix|nt).mkdir, which weights do not need: refused"
    ):
        read_torch(path)
    assert not (tmp_path / "executed").exists()


def test_classes_of_others_are_refused(path):
    value = pickle.dumps(collections.deque("aab"))
    rewrite(path, lambda n, d: value if n.endswith("data.pkl") else d)
    with pytest.raises(InputError, match=r"collections.deque.*save the state dict alone"):
        read_torch(path)


def test_broken_files_are_named(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"x.pt is damaged, or not a PyTorch file"):
        read_torch(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match="is a pickle, but none that PyTorch has written"):
        read_torch(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty: fetch"):
        read_torch(path)
    path.write_bytes(whole)
    rewrite(path, lambda name, data: data[:-4] if name.endswith("data/0") else data)
    with pytest.raises(InputError, match="truncated at data/0"):
        read_torch(path)
    path.write_bytes(whole)
    rewrite(path, lambda name, data: data[:-20] if name.endswith("data.pkl") else data)
    with pytest.raises(InputError, match="damaged"):
        read_torch(path)
    path.write_bytes(whole)
    rewrite(path, lambda name, data: b"big" if name.endswith("byteorder") else data)
    with pytest.raises(InputError, match="big-endian"):
        read_torch(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/readme", "hello")
    with pytest.raises(InputError, match=r"no data.pkl"):
        read_torch(path)


def test_a_tensor_cannot_reach_beyond_its_storage(path):
    """Shapes come from the file: one that lies is refused before any memory is touched."""
    bad = lambda data: data.replace(b"\x8a\x01\x02\x8a\x01\x03t", b"\x8a\x01\x02\x8a\x01\x7ft")  # noqa: E731
    rewrite(path, lambda name, data: bad(data) if name.endswith("data.pkl") else data)
    with pytest.raises(InputError, match="reaches beyond its storage"):
        read_torch(path)


def test_any_change_of_a_file_is_one_line_or_harmless(path):
    """Bytes changed at random: a clean error or a structure, never another exception."""
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 4):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            read_torch(path)
        except InputError:
            refused += 1
    assert refused > 50
