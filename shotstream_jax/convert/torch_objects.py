"""What PyTorch's pickles ask for by name: types, storages, tensors, and a few plain containers.

The names are those that its weights-only loader takes. What it takes and this package does not read
(sparse and quantised tensors), and what it refuses as well, is refused with the name and the
reason; nothing is executed.
"""

import collections
import dataclasses
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from shotstream_jax.convert.names import Lazy
from shotstream_jax.convert.unpickle import Call, Unread
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import read_at

STORAGES = {
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
    "ComplexFloatStorage": np.dtype(np.complex64),
    "ComplexDoubleStorage": np.dtype(np.complex128),
}

# PyTorch's names of types; None: numpy has no such numbers.
_DTYPES: dict[str, np.dtype | None] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "int16": np.dtype(np.int16),
    "int8": np.dtype(np.int8),
    "uint64": np.dtype(np.uint64),
    "uint32": np.dtype(np.uint32),
    "uint16": np.dtype(np.uint16),
    "uint8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
    "complex32": None,
    "float8_e4m3fnuz": None,
    "float8_e5m2fnuz": None,
    "float8_e8m0fnu": None,
    "float4_e2m1fn_x2": None,
    "quint8": None,
    "qint8": None,
    "qint32": None,
    "quint4x2": None,
    "quint2x4": None,
}

# Names that may stand beside weights and of which there are no tensors here.
_OTHER_NAMES = re.compile(
    r"bits(1x8|2x4|4x2|8|16)|u?int[1-7]"  # types
    r"|per_(tensor|channel)_(affine|symmetric)|per_channel_affine_float_qparams"
    r"|(BFloat16|Bool|Byte|Char|Double|Float|Half|Int|Long|Short)Tensor"
)

_SAVE_PLAIN = "save the state dict alone, of plain tensors"
# A name, or what a module's name begins with → why it is not read.
_UNREAD_CALLS = {
    "_rebuild_qtensor": "PyTorch's quantised tensors",
    "_rebuild_sparse_tensor": "sparse tensors",
    "_rebuild_sparse_csr_tensor": "sparse tensors",
    "_rebuild_nested_tensor": "nested tensors",
    "_rebuild_meta_tensor_no_storage": "tensors without values (on the device meta)",
    "_rebuild_wrapper_subclass": "tensors of a class of their own",
    "_rebuild_device_tensor_from_numpy": "tensors of a device of its own",
    "_rebuild_device_tensor_from_cpu_tensor": "tensors of a device of its own",
}
_UNREAD_STORAGES = {
    "QInt8Storage": "PyTorch's quantised tensors",
    "QUInt8Storage": "PyTorch's quantised tensors",
    "QInt32Storage": "PyTorch's quantised tensors",
    "QUInt4x2Storage": "PyTorch's quantised tensors",
    "QUInt2x4Storage": "PyTorch's quantised tensors",
}
_UNREAD_MODULES = {
    "torch.distributed": "shards of a distributed run (DTensor, FSDP): gather them into one file",
    "torchao": f"torchao's quantised tensors: {_SAVE_PLAIN}",
    "optimum.quanto": f"Quanto's tensors: {_SAVE_PLAIN}",
    "bitsandbytes": f"bitsandbytes' tensors: {_SAVE_PLAIN}",
    "numpy": "numpy objects, which PyTorch's weights-only loader refuses as well: "
    "save the state dict alone",
    "torch.nn.modules": "a whole pickled model: save its state dict alone",
    "torch.jit": "a TorchScript program: save its state dict alone",
}

_MOST_AXES = 32
_REPEATED_BYTES = 2**31  # of a tensor that shows fewer bytes many times


class RefusedError(Exception):
    """A file holds what is not read; the message says what, after the file's name."""


@dataclasses.dataclass
class ByteRange:
    """Where a storage's bytes start in the file, once that is known, and how many there are."""

    nbytes: int
    start: int = -1


@dataclasses.dataclass(frozen=True)
class Storage:
    """Elements in a file: some or all of a place's bytes."""

    path: pathlib.Path
    place: ByteRange
    offset: int  # bytes
    dtype: np.dtype
    length: int  # elements


class TorchDtype(NamedTuple):
    """One of PyTorch's types, or another of its names, which may stand beside the weights."""

    name: str

    def __str__(self) -> str:
        return f"torch.{self.name}"


@dataclasses.dataclass(frozen=True)
class _Tensor(Unread, Lazy):
    """A tensor, whose further attributes are left alone."""


def numpy_types() -> dict[str, np.dtype]:
    """PyTorch's names of the types that numpy has too."""
    return {name: dtype for name, dtype in _DTYPES.items() if dtype is not None}


def find_name(module: str, name: str) -> Any:
    """What a name in a pickle stands for. Raises RefusedError for all but a few."""
    if (module, name) in _ALLOWED:
        return _ALLOWED[module, name]
    if module in ("torch", "torch.cuda") and name in STORAGES:
        return STORAGES[name]
    if module == "torch" and (name in _DTYPES or _OTHER_NAMES.fullmatch(name)):
        return TorchDtype(name)
    reason = _reason(module, name)
    raise RefusedError(f"asks for {module}.{name}, {reason}")


def _reason(module: str, name: str) -> str:
    if module == "torch._utils" and name in _UNREAD_CALLS:
        return f"{_UNREAD_CALLS[name]}, which are not read: {_SAVE_PLAIN}"
    if name in _UNREAD_STORAGES:
        return f"{_UNREAD_STORAGES[name]}, which are not read: {_SAVE_PLAIN}"
    for prefix, reason in _UNREAD_MODULES.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return f"{reason}; refused, not run"
    return f"which weights do not need: refused, not run ({_SAVE_PLAIN})"


def _tensor_v2(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, flags: Any = None
) -> Lazy:
    """A tensor in a storage; offset and stride count the storage's elements."""
    # A tensor may be marked as the negative or the conjugate of its elements.
    if isinstance(flags, dict) and any(flags.values()):
        raise RefusedError("has tensors that are conjugated or negated when they are read")
    return _tensor(storage, offset, shape, stride)


def _tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    flags: Any = None,
) -> Lazy:
    """The same for types that have no storage of their own: theirs are plain bytes."""
    if not isinstance(dtype, TorchDtype) or not isinstance(storage, Storage):
        raise ValueError("a tensor has no type")
    numpy_type = numpy_types().get(dtype.name)
    if numpy_type is None:
        raise RefusedError(f"has tensors of the type {dtype}, which are not read: {_SAVE_PLAIN}")
    nbytes = storage.length * storage.dtype.itemsize
    typed = dataclasses.replace(storage, dtype=numpy_type, length=nbytes // numpy_type.itemsize)
    return _tensor_v2(typed, offset, shape, stride, grad, hooks, flags)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> Lazy:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    end = _checked_end(storage, offset, shape, stride)
    count = math.prod(shape)
    nbytes = count * storage.dtype.itemsize
    if count > storage.length and nbytes > _REPEATED_BYTES:
        raise ValueError(f"a tensor repeats {storage.length} values to {nbytes >> 30} GB")

    def read() -> np.ndarray:
        """The tensor's own bytes, and no others of its storage."""
        if not count:
            return np.empty(shape, storage.dtype)
        try:
            return _read_strided(storage, offset, end - offset, shape, stride)
        except (OSError, ValueError) as error:
            raise InputError(f"{storage.path} cannot be read any more: {error}") from None

    return _Tensor(tuple(shape), storage.dtype, read)


def _checked_end(storage: Storage, offset: Any, shape: Any, stride: Any) -> int:
    """One past the last element that a tensor reaches, which must lie in its storage."""
    # These numbers come from the file: none may point outside of the storage.
    is_tuples = isinstance(shape, tuple) and isinstance(stride, tuple)
    if not is_tuples or not len(shape) == len(stride) <= _MOST_AXES:
        raise ValueError("a tensor has no shape")
    for number in (offset, *shape, *stride):
        if type(number) is not int or not 0 <= number < 2**48:
            raise ValueError(f"a tensor has the length or step {number!r:.40}")
    end = offset + 1
    for length, step in zip(shape, stride, strict=True):
        end += (length - 1) * step
    is_empty = 0 in shape
    if not is_empty and end > storage.length:
        raise ValueError("a tensor reaches beyond its storage")
    return end


def _read_strided(
    storage: Storage, offset: int, span: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> np.ndarray:
    """A tensor whose elements lie within `span` elements from `offset` on."""
    itemsize = storage.dtype.itemsize
    start = storage.place.start + storage.offset + offset * itemsize
    nbytes = span * itemsize
    # Mostly the span is the tensor, in whatever order of its axes. Of columns of a wide matrix,
    # say, only the pages that they lie in are touched.
    is_dense = span <= 2 * math.prod(shape)
    if is_dense:
        data = read_at(storage.path, start, nbytes)
    else:
        data = np.memmap(storage.path, np.uint8, "r", start, (nbytes,))
    strides = tuple(step * itemsize for step in stride)
    tensor = np.ndarray(shape, storage.dtype, data, 0, strides)
    if not is_dense:
        return np.array(tensor)
    # Elements may be there several times in it.
    tensor.flags.writeable = False
    return tensor


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _of_type(rebuild: Any, _type: Any, arguments: Any, _attributes: Any) -> Any:
    """A tensor that has attributes: without them."""
    if not isinstance(rebuild, Call) or not isinstance(arguments, tuple):
        raise ValueError("a tensor is made by nothing that makes tensors")
    return rebuild.function(*arguments)


def _size(lengths: Any = ()) -> tuple:
    return tuple(lengths)


def _device(kind: Any, index: Any = None) -> str:
    """A device by its name, as in "cuda:0"."""
    if index is None:
        return str(kind)
    return f"{kind}:{index}"


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes, as an old pickle spells them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("its pickle has bytes that are none")
    return text.encode("latin1")


def _bytes(value: Any = b"", encoding: Any = "latin1") -> bytes:
    if isinstance(value, str):
        return _encode(value, encoding.replace("latin-1", "latin1"))
    if not isinstance(value, bytes | list):
        raise ValueError("its pickle has bytes that are none")
    return bytes(value)


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    return complex(real, imaginary)


def _set(items: Any = ()) -> set:
    """Numbers and texts."""
    if not isinstance(items, list | tuple) or any(isinstance(item, tuple) for item in items):
        raise ValueError("its pickle has a set of other things than numbers and texts")
    return set(items)


def _counter(counts: Any = None) -> dict:
    """A dict of counts."""
    if not isinstance(counts, dict):
        raise ValueError("its pickle has a Counter of other things than counts")
    return dict(counts)


def _ordered(items: Any = ()) -> collections.OrderedDict:
    """Mostly empty, to be filled; older pickles have its items here, as pairs."""
    made: collections.OrderedDict[Any, Any] = collections.OrderedDict()
    for name, value in items:
        if not isinstance(name, str):
            raise ValueError("its pickle has an OrderedDict of other things than names")
        made[name] = value
    return made


def _calls(module: str, **functions: Callable[..., Any]) -> dict[tuple[str, str], Any]:
    return {(module, name): Call(function) for name, function in functions.items()}


_BUILTINS: dict[str, Callable[..., Any]] = {
    "set": _set,
    "complex": _complex,
    "bytearray": _bytes,
    "bytes": _bytes,
}
_TENSOR_CLASS = object()  # stands where only the class's name counts

# (module, name) → what it stands for, beside types and storages.
_ALLOWED: dict[tuple[str, str], Any] = {
    **_calls("collections", OrderedDict=_ordered, Counter=_counter),
    **_calls("_codecs", encode=_encode),
    **_calls("builtins", **_BUILTINS),
    **_calls("__builtin__", **_BUILTINS),  # Python 2's name, in older pickles
    **_calls("torch", Size=_size, device=_device),
    **_calls("torch.serialization", _get_layout=str),
    **_calls(
        "torch._utils",
        _rebuild_tensor=_tensor,
        _rebuild_tensor_v2=_tensor_v2,
        _rebuild_tensor_v3=_tensor_v3,
        _rebuild_parameter=_parameter,
        _rebuild_parameter_with_state=_parameter,
    ),
    **_calls("torch._tensor", _rebuild_from_type_v2=_of_type),
    ("torch", "Tensor"): _TENSOR_CLASS,
    ("torch._tensor", "Tensor"): _TENSOR_CLASS,
    ("torch.nn.parameter", "Parameter"): _TENSOR_CLASS,
    ("torch.storage", "UntypedStorage"): np.dtype(np.uint8),
    ("torch.storage", "_UntypedStorage"): np.dtype(np.uint8),
}
