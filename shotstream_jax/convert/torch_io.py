"""PyTorch's zip format (`.pt`, `.pth`), read and written without PyTorch.

A file is a zip of uncompressed members: `data.pkl`, a pickle of the structure in which a tensor is
(storage, offset, shape, stride), and `data/N`, the storages' bytes. Reading unpickles with an
allow-list: a weight file needs a handful of names (below); one that asks for anything else is
refused, and nothing of it is executed. A tensor's bytes are read when it is used, and are gone when
its array is.

Why not PyTorch's own weights-only loader: it would bring gigabytes (with CUDA) into an environment
for the sake of this one file, and it cannot give bfloat16 as numpy. An optional test compares both
directions with PyTorch itself.
"""

import collections
import io
import itertools
import math
import pathlib
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
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

# The way back, for writing.
_NAMES = {dtype: name for name, dtype in _STORAGES.items()}
_ALIGNMENT = 64  # of a storage in the file, so that it can be mapped
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name
_PADDING_FIELD = 0x4246  # the id of the extra field that pads, as PyTorch writes it


class _Storage(NamedTuple):
    """Where a storage's elements lie in the file."""

    path: pathlib.Path
    start: int
    length: int  # elements
    dtype: np.dtype


# All that zip and pickle raise over a file that is cut, changed or something else.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


def read_torch(path: str | pathlib.Path) -> Any:
    """The structure in a `.pt` file: dicts, lists, scalars, and a `Lazy` array for every tensor.

    Raises InputError if the file is missing or damaged, or asks for anything that weights do not
    need.
    """
    path = pathlib.Path(path)
    try:
        return _read_structure(path)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no weight file {path}") from None
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path} is damaged, or not a PyTorch zip file ({reason}): fetch it again"
        ) from None


def _read_structure(path: pathlib.Path) -> Any:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        # Members are named `FOLDER/data.pkl`, whatever the folder is called.
        members = {}
        for name in archive.namelist():
            members[name.partition("/")[2]] = archive.getinfo(name)
        if "data.pkl" not in members:
            raise InputError(f"{path} holds no data.pkl: it is not a PyTorch file")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise InputError(
                f"{path} was written on a big-endian machine: save it again on another"
            )
        # Only the structure is read; tensors remember where their bytes lie.
        structure = io.BytesIO(archive.read(members["data.pkl"]))
        return _Reader(structure, path, file, members).load()


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
        self._path = path
        self._file = file
        self._members = members
        self._size = path.stat().st_size

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for.

        Raises InputError for all but the few that a weight file needs.
        """
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) not in _ALLOWED:
            raise InputError(
                f"{self._path} asks for {module}.{name}, "
                "which weights do not need: refused, not run"
            )
        return _ALLOWED[module, name]

    def persistent_load(self, pid: tuple) -> _Storage:
        """A storage by its id: ("storage", type, key, device, number of elements)."""
        _, dtype, key, _, length = pid
        # Uncompressed, its elements can be read in place.
        info = self._members[f"data/{key}"]
        if info.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{self._path} is compressed: unpack it and zip it without compression"
            )
        # A member's data follows its local header, whose name and extra field vary in length.
        self._file.seek(info.header_offset + 26)
        name_length, extra_length = struct.unpack("<HH", self._file.read(4))
        start = info.header_offset + _LOCAL_HEADER + name_length + extra_length
        # The storage must lie in the file as a whole.
        if info.file_size < length * dtype.itemsize or start + info.file_size > self._size:
            raise InputError(f"{self._path} is truncated at data/{key}: fetch it again")
        return _Storage(self._path, start, length, dtype)


def _tensor(storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any) -> Lazy:
    """A tensor in a storage; offset and stride count the storage's elements."""
    # These numbers come from the file: none may point outside of the storage.
    not_negative = min((offset, *shape, *stride)) >= 0
    # One past the last element that the tensor reaches.
    end = offset + 1
    for length, step in zip(shape, stride, strict=True):
        end += (length - 1) * step
    is_empty = math.prod(shape) == 0
    if not not_negative or (not is_empty and end > storage.length):
        raise ValueError("a tensor reaches beyond its storage")

    def read() -> np.ndarray:
        """The tensor, as a view of its whole storage."""
        elements = np.fromfile(storage.path, storage.dtype, storage.length, offset=storage.start)
        strides = tuple(step * storage.dtype.itemsize for step in stride)  # in bytes
        return np.lib.stride_tricks.as_strided(
            elements[offset:],
            shape,
            strides,
            writeable=False,
        )

    return Lazy(tuple(shape), storage.dtype, read)


def _parameter(tensor: Lazy, *_: Any) -> Lazy:
    return tensor


def _shape(lengths: Sequence[int] = ()) -> tuple[int, ...]:
    return tuple(lengths)


# The names that a weight file may ask for, beside the storages.
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): _shape,
}


def write_torch(
    path: str | pathlib.Path, structure: Any, progress: Callable[[int], object] = lambda _: None
) -> None:
    """Writes dicts, lists and scalars, with arrays as tensors.

    `Lazy` arrays are read one at a time. The file has its final name only when it is whole.
    progress: called with the number of bytes just written. Raises OSError, and TypeError for
    anything else in the structure.
    """
    path = pathlib.Path(path)
    # The structure first, which numbers the arrays, then their bytes in that order.
    arrays: list[np.ndarray | Lazy] = []
    pickled = b"\x80\x02" + _pickled(structure, arrays) + b"."
    with whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        _add_member(archive, f"{path.stem}/data.pkl", pickled)
        _add_member(archive, f"{path.stem}/byteorder", b"little")
        for i, array in enumerate(arrays):
            # Read here if it is lazy, and forgotten after its member is written.
            flat = np.ascontiguousarray(array).reshape(-1)
            _add_member(archive, f"{path.stem}/data/{i}", flat.view(np.uint8).data)
            progress(flat.nbytes)
        _add_member(archive, f"{path.stem}/version", b"3\n")


def _add_member(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    """Adds a member whose data starts at a multiple of the alignment."""
    assert archive.fp is not None  # the archive is open
    info = zipfile.ZipInfo(name)
    # The header is followed by the name, by the field that force_zip64 adds, and by a field of
    # ours, which pads.
    zip64_field = 20
    own_field_head = 4
    unpadded = archive.fp.tell() + _LOCAL_HEADER + len(name.encode()) + zip64_field + own_field_head
    padding = -unpadded % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + b"Z" * padding
    with archive.open(info, "w", force_zip64=True) as member:
        member.write(data)


def _pickled(value: Any, arrays: list[np.ndarray | Lazy]) -> bytes:
    """A value in pickle protocol 2, without memo: the few opcodes that a weight file needs.

    Tensors are added to `arrays`, and stand in the pickle by their number there.
    """
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            # LONG1: the number of bytes, then the bytes.
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case float():
            # BINFLOAT, big-endian.
            return b"G" + struct.pack(">d", value)
        case str():
            # BINUNICODE: the length, then UTF-8.
            text = value.encode()
            return b"X" + struct.pack("<I", len(text)) + text
        # MARK, the items, and what to make of them: a tuple, or a list or dict to append to.
        case tuple():
            return b"(" + _pickled_items(value, arrays) + b"t"
        case list():
            return b"](" + _pickled_items(value, arrays) + b"e"
        case dict():
            keys_and_values = itertools.chain.from_iterable(value.items())
            return b"}(" + _pickled_items(keys_and_values, arrays) + b"u"
        case np.ndarray() | Lazy():
            arrays.append(value)
            return _pickled_tensor(value, len(arrays) - 1)
    raise TypeError(f"a weight file cannot hold {type(value).__name__}")


def _pickled_items(items: Iterable[Any], arrays: list[np.ndarray | Lazy]) -> bytes:
    return b"".join(_pickled(item, arrays) for item in items)


def _pickled_tensor(tensor: np.ndarray | Lazy, number: int) -> bytes:
    """_rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks).

    The storage is a persistent id (`_Reader.persistent_load`), and the file's member `data/NUMBER`.
    """
    shape = tensor.shape
    # A tuple as a persistent id: ( … t Q.
    storage = (
        b"("
        + _pickled("storage", [])
        + _pickled_name("torch", _NAMES[tensor.dtype])
        + _pickled_items((str(number), "cpu", math.prod(shape)), [])
        + b"tQ"
    )
    # A call without arguments: NAME ) R.
    no_hooks = _pickled_name("collections", "OrderedDict") + b")R"
    # The call: NAME ( … t R.
    return (
        _pickled_name("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + _pickled_items((0, shape, _contiguous_strides(shape), False), [])
        + no_hooks
        + b"tR"
    )


def _contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Steps in elements: the product of all later lengths. [2, 3, 4] → (12, 4, 1)."""
    strides = []
    step = 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


def _pickled_name(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()
