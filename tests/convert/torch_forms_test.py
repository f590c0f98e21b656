"""PyTorch's files as other versions write them, and what they hold beside weights."""

import collections
import os
import pathlib
import pickle
import re
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from shotstream_jax.convert.torch_io import read_torch, write_torch
from shotstream_jax.convert.torch_objects import TorchDtype
from shotstream_jax.core.errors import InputError
from tests.convert.containers import (
    Storage,
    Tensor,
    stand_in,
    torch_pickle,
    write_torch_old,
    write_torch_zip,
)

WRITERS = [write_torch_zip, write_torch_old]
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)


def tensor(array: np.ndarray, kind="FloatStorage", key="0", call="_rebuild_tensor_v2") -> Tensor:
    """A tensor with a storage of its own."""
    strides = tuple(step // array.itemsize for step in array.strides)
    storage = Storage(array, key, kind)
    return Tensor(call, storage, 0, array.shape, strides, False, collections.OrderedDict())


def float8(array: np.ndarray, name: str, key: str = "0") -> Tensor:
    plain = tensor(array, "UntypedStorage", key, "_rebuild_tensor_v3")
    return Tensor("_rebuild_tensor_v3", *plain.arguments, stand_in("torch", name))


@pytest.mark.parametrize("write", WRITERS)
def test_views_of_one_storage(tmp_path, write):
    """Transposed, cut out, with steps, repeated, without axes and without entries."""
    storage = Storage(BASE, "0", "FloatStorage")
    views = {
        "whole": (0, (4, 6), (6, 1)),
        "transposed": (0, (6, 4), (1, 6)),
        "columns": (2, (4, 2), (6, 1)),
        "column": (5, (4, 1), (6, 1)),
        "steps": (1, (2, 2), (12, 3)),
        "repeated": (3, (5, 3), (0, 1)),
        "one": (7, (), ()),
        "none": (0, (0, 6), (6, 1)),
    }
    write(
        tmp_path / "x.pt",
        {k: Tensor("_rebuild_tensor_v2", storage, *v, False, {}) for k, v in views.items()},
    )
    read = {name: np.asarray(array) for name, array in read_torch(tmp_path / "x.pt").items()}
    want = {
        "whole": BASE,
        "transposed": BASE.T,
        "columns": BASE[:, 2:4],
        "column": BASE[:, 5:],
        "steps": BASE[0::2, 1:6:3],
        "repeated": np.broadcast_to(BASE[0, 3:6], (5, 3)),
        "one": BASE[1, 1],
        "none": BASE[:0],
    }
    for name, array in want.items():
        assert read[name].shape == array.shape and np.array_equal(read[name], array), name


def bytes_read() -> int:
    return int(re.search(r"rchar: (\d+)", pathlib.Path("/proc/self/io").read_text())[1])


@pytest.mark.parametrize("kind", ["rows", "columns", "transposed"])
def test_a_view_reads_its_own_bytes(tmp_path, kind):
    """100 views of one storage: together they read about the storage, whichever way they lie."""
    rows, width = 64, 100 * 32
    storage = Storage(np.arange(rows * width, dtype=np.float32), "0", "FloatStorage")
    places = {
        "rows": lambda i: (i * rows * 32, (rows, 32), (32, 1)),
        "columns": lambda i: (i * 32, (rows, 32), (width, 1)),
        "transposed": lambda i: (i * rows * 32, (32, rows), (1, 32)),
    }
    write_torch_zip(
        tmp_path / "x.pt",
        [Tensor("_rebuild_tensor_v2", storage, *places[kind](i), False, {}) for i in range(100)],
    )
    before = bytes_read()
    total = sum(float(np.asarray(view, np.float64).sum()) for view in read_torch(tmp_path / "x.pt"))
    assert total == storage.values.sum(dtype=np.float64)
    assert bytes_read() - before < 3 * (tmp_path / "x.pt").stat().st_size


@pytest.mark.parametrize("write", WRITERS)
def test_types_and_objects_beside_weights(tmp_path, write):
    state = collections.OrderedDict(w=tensor(BASE), i=tensor(np.arange(3), "LongStorage", "1"))
    state._metadata = {"": {"version": 1}}  # as a module's state dict has
    content = {
        "state": state,
        "half": tensor(BASE.astype(np.float16), "HalfStorage", "2"),
        "flag": tensor(np.array([True, False]), "BoolStorage", "3"),
        "complex": tensor(np.array([1 + 2j], np.complex64), "ComplexFloatStorage", "4"),
        "old": Tensor("_rebuild_tensor", Storage(BASE, "5", "FloatStorage"), 0, (4, 6), (6, 1)),
        "parameter": Tensor("_rebuild_parameter", tensor(BASE, key="6"), True, {}),
        "with_state": Tensor(
            "_rebuild_parameter_with_state", tensor(BASE, key="7"), True, {}, {"a": 1}
        ),
        "of_type": Tensor(
            "_rebuild_from_type_v2",
            stand_in("torch._utils", "_rebuild_tensor_v2"),
            stand_in("torch.nn.parameter", "Parameter"),
            tensor(BASE, key="8").arguments,
            {"tag": 1},
            module="torch._tensor",
        ),
        "dtype": stand_in("torch", "float8_e4m3fn"),
        "size": Tensor("Size", (2, 3), module="torch"),
        "device": Tensor("device", "cuda", 1, module="torch"),
        "layout": Tensor("_get_layout", "torch.strided", module="torch.serialization"),
        "plain": [
            None,
            True,
            -(2**40),
            0.5,
            "ä",
            b"\0\xff",
            bytearray(b"a"),
            1 - 2j,
            {1, 2},
            (1, (2,)),
        ],
        "counter": collections.Counter("aab"),
    }
    write(tmp_path / "x.pt", content)
    read = read_torch(tmp_path / "x.pt")
    for name in ("old", "parameter", "with_state", "of_type"):
        assert np.array_equal(np.asarray(read[name]), BASE), name
    assert read["state"]["i"].dtype == np.int64 and read["half"].dtype == np.float16
    assert (
        np.asarray(read["flag"]).tolist() == [True, False]
        and np.asarray(read["complex"])[0] == 1 + 2j
    )
    assert (
        read["dtype"] == TorchDtype("float8_e4m3fn") and str(read["dtype"]) == "torch.float8_e4m3fn"
    )
    assert (read["size"], read["device"], read["layout"]) == ((2, 3), "cuda:1", "torch.strided")
    assert read["plain"] == [
        None,
        True,
        -(2**40),
        0.5,
        "ä",
        b"\0\xff",
        b"a",
        1 - 2j,
        {1, 2},
        (1, (2,)),
    ]
    assert read["counter"] == {"a": 2, "b": 1}


def test_names_of_pytorch_beside_weights(tmp_path):
    """They are read, and written back as they are; a storage without a tensor is not."""
    names = ["float8_e4m3fnuz", "uint4", "bits2x4", "per_tensor_affine", "FloatTensor", "bool"]
    write_torch_zip(tmp_path / "x.pt", {"names": [stand_in("torch", name) for name in names]})
    read = read_torch(tmp_path / "x.pt")
    assert [str(name) for name in read["names"]] == [f"torch.{name}" for name in names]
    write_torch(tmp_path / "y.pt", read)
    assert read_torch(tmp_path / "y.pt") == read
    write_torch_zip(tmp_path / "x.pt", {"storage": Storage(BASE, "0", "FloatStorage")})
    with pytest.raises(InputError, match="cannot hold a Storage"):
        write_torch(tmp_path / "y.pt", read_torch(tmp_path / "x.pt"))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "uint16", "bfloat16"])
def test_types_without_a_storage_of_their_own(tmp_path, name):
    values = np.arange(1, 7).reshape(2, 3).astype(np.dtype(getattr(ml_dtypes, name, None) or name))
    write_torch_zip(tmp_path / "x.pt", {"w": float8(values, name)})
    read = read_torch(tmp_path / "x.pt")["w"]
    assert read.dtype == values.dtype and np.array_equal(np.asarray(read), values)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Tensor("_rebuild_qtensor", 1), "PyTorch's quantised tensors, which are not read"),
        (Tensor("_rebuild_sparse_tensor", 1), "sparse tensors, which are not read"),
        (Tensor("_rebuild_wrapper_subclass", 1), "tensors of a class of their own"),
        (stand_in("torch", "QInt8Storage"), "quantised"),
        (
            Tensor("DTensor", 1, module="torch.distributed.tensor"),
            "shards of a distributed run.*gather them",
        ),
        (
            Tensor("ShardedTensor", 1, module="torch.distributed._shard.sharded_tensor.api"),
            "shards of a dist",
        ),
        (
            Tensor("AffineQuantizedTensor", 1, module="torchao.dtypes"),
            "torchao's quantised tensors",
        ),
        (
            stand_in("torch.nn.modules.linear", "Linear"),
            "a whole pickled model: save its state dict alone",
        ),
        (
            stand_in("numpy._core.multiarray", "scalar"),
            "numpy objects, which PyTorch's weights-only loader refuses",
        ),
        (
            stand_in("wan.modules.model", "WanModel"),
            "wan.modules.model.WanModel, which weights do not need: refused",
        ),
        (collections.defaultdict(list), "collections.defaultdict"),
        (
            float8(np.zeros(2, np.uint8), "float8_e8m0fnu"),
            "type torch.float8_e8m0fnu, which are not read",
        ),
        (
            Tensor(
                "_rebuild_tensor_v2",
                Storage(BASE, "0", "FloatStorage"),
                0,
                (2,),
                (1,),
                False,
                {},
                {"neg": True},
            ),
            "negated",
        ),
        (
            Tensor(
                "_rebuild_tensor_v2", Storage(BASE, "0", "FloatStorage"), 20, (5,), (1,), False, {}
            ),
            "beyond its storage",
        ),
        (
            Tensor(
                "_rebuild_tensor_v2", Storage(BASE, "0", "FloatStorage"), -1, (5,), (1,), False, {}
            ),
            "length or step -1",
        ),
        (
            Tensor(
                "_rebuild_tensor_v2",
                Storage(BASE, "0", "FloatStorage"),
                0,
                (2**40, 2),
                (0, 1),
                False,
                {},
            ),
            "repeats 24 values",
        ),
        (
            Tensor(
                "_rebuild_tensor_v2",
                Storage(BASE, "0", "FloatStorage"),
                0,
                (1,) * 40,
                (1,) * 40,
                False,
                {},
            ),
            "no shape",
        ),
        (Tensor("_rebuild_tensor_v2", "x", 0, (1,), (1,), False, {}), "no storage"),
        (2**5000, "an integer of 5001 bits"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_not_read_is_named(tmp_path, write, value, message):
    write(tmp_path / "x.pt", {"generator": {"w": value}})
    with pytest.raises(InputError, match=message):
        read_torch(tmp_path / "x.pt")


def zip_with(path: pathlib.Path, pickled: bytes, compression=zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)


NESTED_LISTS = b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."
LAUGHS = (
    b"\x80\x02]q\x00"
    + b"".join(b"](" + b"h%c" % i * 20 + b"eq%c" % (i + 1) for i in range(30))
    + b"."
)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # Python's own unpickler would make room for two thousand million memo entries.
        (b"\x80\x02}r\xff\xff\xff\x7f.", None),
        (b"\x80\x02}j\xff\xff\xff\x7f.", "KeyError"),
        (NESTED_LISTS, "nested too deeply"),
        (b"\x80\x02]q\x00h\x00a.", "nested too deeply"),
        (LAUGHS, "too many values"),
        (b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns.", "tuples in tuples"),
        (
            b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x7f\x85R.",
            "bytes that are none",
        ),
        (b"\x80\x02X\xff\xff\xff\x7fa.", "ValueError"),
        (b"\x80\x02(((.", "IndexError"),
        (b"\x80\x02K\x01)R.", "calls what cannot be called"),
        (b"\x80\x02K\x01}b.", "sets attributes of a int"),
        (b"\x80\x02K\x01K\x01a.", "adds items to a int"),
        (b"\x80\x02P0\n.", "opcode PERSID"),
        (b"\x80\x02}", "ValueError"),
        (b"", "ValueError"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_pickles_that_would_take_all_memory_are_one_line(tmp_path, pickled, message):
    zip_with(tmp_path / "x.pt", pickled)
    if message is None:
        assert read_torch(tmp_path / "x.pt") == {}
        return
    with pytest.raises(InputError, match=message):
        read_torch(tmp_path / "x.pt")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_structure_that_unpacks_to_much_is_not_unpacked(tmp_path, compression):
    zip_with(tmp_path / "x.pt", b"}" * (17 * 2**20), compression)
    with pytest.raises(InputError, match="more than 16 MB"):
        read_torch(tmp_path / "x.pt")


def test_archives_of_other_kinds_are_named(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/constants.pkl", "")
        archive.writestr("x/data.pkl", "")
    with pytest.raises(InputError, match="TorchScript"):
        read_torch(path)
    path.write_bytes(b"x" * 257 + b"ustar" + bytes(250))
    with pytest.raises(InputError, match=r"tar archive, PyTorch's format before 0.1.10"):
        read_torch(path)
    for foreign, message in (
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"garbage", "neither a zip nor a pickle"),
    ):
        path.write_bytes(foreign)
        with pytest.raises(InputError, match=message):
            read_torch(path)


def test_damage_of_the_old_format(tmp_path):
    path = tmp_path / "x.pt"
    write_torch_old(path, {"w": tensor(BASE)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(InputError, match="is truncated at the storage 0"):
        read_torch(path)
    path.write_bytes(whole.replace(b"little_endian", b"little_ending"))
    with pytest.raises(InputError, match="big-endian"):
        read_torch(path)
    # Its last pickle lists other storages than the tensors have.
    numbers = struct.pack("<q", BASE.size)
    at = whole.rindex(numbers)
    path.write_bytes(whole[:at].replace(b"0q\x01a.", b"1q\x01a.") + whole[at:])
    with pytest.raises(InputError, match="storages are not those"):
        read_torch(path)


def test_parts_of_storages_in_the_oldest_files(tmp_path):
    """A storage's id may name a part of it: (key of the part, first element, elements)."""
    pickled = torch_pickle({"w": tensor(BASE[0])}, True, {})
    part = b"(X\x01\x00\x00\x00vK\x02K\x03t"
    changed = pickled.replace(b"Ntq", part + b"tq", 1).replace(b"K\x06\x85", b"K\x03\x85")
    assert changed != pickled
    whole = b"".join(
        pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    (tmp_path / "x.pt").write_bytes(
        whole + changed + pickle.dumps(["0"], 2) + struct.pack("<q", 6) + BASE[0].tobytes()
    )
    assert np.asarray(read_torch(tmp_path / "x.pt")["w"]).tolist() == [2, 3, 4]


def test_a_file_that_shrinks_after_it_was_opened_is_one_line(tmp_path):
    path = tmp_path / "x.pt"
    write_torch_old(path, {"w": tensor(BASE)})
    state = read_torch(path)
    os.truncate(path, path.stat().st_size - 40)
    with pytest.raises(InputError, match="cannot be read any more"):
        np.asarray(state["w"])


@pytest.mark.parametrize("new", [True, False])
def test_pytorchs_own_files(tmp_path, new):
    """Everything that its weights-only loader takes, as PyTorch itself writes it."""
    torch = pytest.importorskip("torch", reason="PyTorch is in the `convert` extra only")
    base = torch.arange(12.0).reshape(3, 4)
    linear = torch.nn.Linear(3, 2)
    content = {
        "views": [base.T, base[1:, 2:], base[:, 1], base.expand(2, 3, 4), base[0, 0]],
        "model": linear.state_dict(),
        "parameter": torch.nn.Parameter(base),
        "types": [
            base.to(getattr(torch, n))
            for n in ("int8", "uint8", "int16", "bool", "complex64", "bfloat16")
        ],
        "objects": [
            torch.float16,
            torch.Size([2, 3]),
            torch.device("cuda:1"),
            collections.Counter("ab"),
            {1, 2},
        ],
    }
    if new:
        content["new types"] = [
            base.to(getattr(torch, n)) for n in ("float8_e4m3fn", "float8_e5m2", "uint16")
        ]
    path = tmp_path / "x.pt"
    torch.save(content, path, _use_new_zipfile_serialization=new)
    read, want = read_torch(path), torch.load(path, weights_only=True)
    pairs = list(zip(read["views"] + read["types"], want["views"] + want["types"], strict=True))
    pairs += [(read["model"][k], want["model"][k]) for k in want["model"]]
    pairs += [(read["parameter"], want["parameter"].data)]
    pairs += list(zip(read.get("new types", []), want.get("new types", []), strict=True))
    for ours, theirs in pairs:
        right = theirs.to(torch.complex64 if theirs.is_complex() else torch.float64).numpy()
        assert np.array_equal(np.asarray(ours).astype(right.dtype), right)
    assert read["objects"][:3] == [TorchDtype("float16"), (2, 3), "cuda:1"]
