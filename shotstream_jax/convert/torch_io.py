"""PyTorch's zip format (`.pt`, `.pth`), read and written without PyTorch.

A file is a zip of uncompressed members: `data.pkl`, a pickle of the structure in which a tensor is (storage, offset,
shape, stride), and `data/N`, the storages' bytes. Reading unpickles with an allow-list: a weight file needs a handful
of names (below); one that asks for anything else is refused, and nothing of it is executed. A tensor's bytes are read
when it is used, and are gone when its array is.

Why not PyTorch's own weights-only loader: it would bring gigabytes (with CUDA) into an environment that needs two
hundred lines of it, and cannot hand out bfloat16 as numpy. An optional test compares both ways with PyTorch itself.
"""

import collections
import io
import math
import pathlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from shotstream_jax.convert.names import Lazy
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import whole

_STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _STORAGES.items()}
_ALIGNMENT = 64  # of a storage in the file, so that it can be mapped


class _Storage(NamedTuple):
    """Where a storage's elements lie in the file."""

    path: pathlib.Path
    start: int
    count: int
    dtype: np.dtype


def read_torch(path: str | pathlib.Path) -> Any:
    """The structure in a `.pt` file: dicts, lists, scalars, and a `Lazy` array for every tensor."""
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            members = {name.partition("/")[2]: archive.getinfo(name) for name in archive.namelist()}
            if "data.pkl" not in members:
                raise InputError(f"{path} holds no data.pkl: it is no PyTorch file")
            if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
                raise InputError(
                    f"{path} was written on a big-endian machine: save it again on another"
                )
            return _Reader(
                io.BytesIO(archive.read(members["data.pkl"])), path, file, members
            ).load()
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no weight file {path}") from None
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path} is damaged, or no PyTorch zip file ({reason}): fetch it again"
        ) from None


# All that zip and pickle raise over a file that is cut, changed or something else.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    OSError,
    EOFError,
    LookupError,
)
_DAMAGE += (TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


class _Reader(pickle.Unpickler):
    """Unpickles only what a weight file is made of."""

    def __init__(
        self,
        structure: io.BytesIO,
        path: pathlib.Path,
        file: BinaryIO,
        members: dict[str, zipfile.ZipInfo],
    ):
        super().__init__(structure)
        self._path, self._file, self._members = path, file, members
        self._size = path.stat().st_size

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            ("torch", "Size"): lambda sizes=(): tuple(sizes),
        }
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) not in allowed:
            raise InputError(
                f"{self._path} asks for {module}.{name}, which weights do not need: refused, not run"
            )
        return allowed[module, name]

    def persistent_load(self, pid: tuple) -> _Storage:
        _, dtype, key, _, count = pid
        info = self._members[f"data/{key}"]
        if info.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{self._path} is compressed: unpack it and zip it without compression"
            )
        # A member's data follows its local header, whose name and extra field have lengths of their own.
        self._file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", self._file.read(4))
        start = info.header_offset + 30 + name + extra
        if info.file_size < count * dtype.itemsize or start + info.file_size > self._size:
            raise InputError(f"{self._path} is truncated at data/{key}: fetch it again")
        return _Storage(self._path, start, count, dtype)


def _tensor(storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any) -> Lazy:
    """offset and stride count elements of the storage."""
    reach = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1
    lengths_ok = min(shape, default=0) >= 0 and min(stride, default=0) >= 0 and offset >= 0
    if not lengths_ok or (math.prod(shape) and reach > storage.count):
        raise ValueError("a tensor reaches beyond its storage")

    def read() -> np.ndarray:
        elements = np.fromfile(storage.path, storage.dtype, storage.count, offset=storage.start)
        strides = tuple(s * storage.dtype.itemsize for s in stride)
        return np.lib.stride_tricks.as_strided(elements[offset:], shape, strides, writeable=False)

    return Lazy(tuple(shape), storage.dtype, read)


def write_torch(
    path: str | pathlib.Path, structure: Any, progress: Callable[[int], object] = lambda _: None
) -> None:
    """Writes dicts, lists and scalars, with arrays as tensors; `Lazy` ones are in memory one at a time.

    The file has its final name only when it is whole.
    """
    path = pathlib.Path(path)
    arrays: list[np.ndarray | Lazy] = []
    pickled = b"\x80\x02" + _pickled(structure, arrays) + b"."
    with whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, f"{path.stem}/data.pkl", pickled)
        _add(archive, f"{path.stem}/byteorder", b"little")
        for i, array in enumerate(arrays):
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            _add(archive, f"{path.stem}/data/{i}", memoryview(data))
            progress(data.nbytes)
        _add(archive, f"{path.stem}/version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Adds a member whose data starts at a multiple of the alignment."""
    info = zipfile.ZipInfo(name)
    zip64, header = 20, 4  # the field that force_zip64 puts before ours, and ours' own head
    start = archive.fp.tell() + 30 + len(name.encode()) + zip64 + header
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=True) as member:
        member.write(data)


def _pickled(obj: Any, arrays: list[np.ndarray | Lazy]) -> bytes:
    """Pickle protocol 2, without memo: the few opcodes that a weight file needs. Tensors are added to `arrays`."""
    inner = lambda items: b"".join(_pickled(item, arrays) for item in items)  # noqa: E731
    match obj:
        case None | bool():
            return {None: b"N", True: b"\x88", False: b"\x89"}[obj]
        case int():
            data = obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            return b"G" + struct.pack(">d", obj)
        case str():
            text = obj.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        case tuple():
            return b"(" + inner(obj) + b"t"
        case list():
            return b"](" + inner(obj) + b"e"
        case dict():
            return b"}(" + inner(x for pair in obj.items() for x in pair) + b"u"
        case np.ndarray() | Lazy():
            return _pickled_tensor(obj, arrays)
    raise TypeError(f"a weight file cannot hold {type(obj).__name__}")


def _pickled_tensor(tensor: np.ndarray | Lazy, arrays: list[np.ndarray | Lazy]) -> bytes:
    """_rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks); the storage is a persistent id."""
    arrays.append(tensor)
    strides = (
        tuple(int(n) for n in np.cumprod((1, *tensor.shape[:0:-1]))[::-1]) if tensor.shape else ()
    )
    storage = b"(" + _pickled("storage", []) + _name("torch", _NAMES[tensor.dtype])
    storage += (
        b"".join(_pickled(x, []) for x in (str(len(arrays) - 1), "cpu", math.prod(tensor.shape)))
        + b"tQ"
    )
    rest = b"".join(_pickled(x, []) for x in (0, tensor.shape, strides, False))
    return (
        _name("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + rest
        + _name("collections", "OrderedDict")
        + b")RtR"
    )


def _name(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()
