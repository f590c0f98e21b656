"""Pickles as PyTorch's files have them, written: the opcodes that a structure of tensors needs."""

import itertools
import math
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from shotstream_jax.convert.names import Lazy
from shotstream_jax.convert.torch_objects import STORAGES, TorchDtype, numpy_types
from shotstream_jax.core.errors import InputError

# Types by their storages' names, and those that have no storage of their own.
_NAMES = {dtype: name for name, dtype in STORAGES.items()}
_OTHER_NAMES = {dtype: name for name, dtype in numpy_types().items() if dtype not in _NAMES}


def pickle_structure(structure: Any, arrays: list[np.ndarray | Lazy]) -> bytes:
    """Dicts, lists, scalars and arrays as a pickle of protocol 2.

    Arrays are added to `arrays`, and stand in the pickle by their number there. Raises InputError
    for anything else.
    """
    return b"\x80\x02" + _pickled(structure, arrays) + b"."


def _pickled(value: Any, arrays: list[np.ndarray | Lazy]) -> bytes:
    """A value, without memo."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            # LONG1: the number of bytes, then the bytes.
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(data)]) + data
        case TorchDtype():
            return _pickled_name("torch", value.name)
        case complex():
            return _pickled_call("__builtin__", "complex", (value.real, value.imag), arrays)
        case bytes():
            return _pickled_call("_codecs", "encode", (value.decode("latin1"), "latin1"), arrays)
        case set():
            return _pickled_call("__builtin__", "set", (list(value),), arrays)
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
    raise InputError(f"a weight file written here cannot hold a {type(value).__name__}")


def _pickled_items(items: Iterable[Any], arrays: list[np.ndarray | Lazy]) -> bytes:
    return b"".join(_pickled(item, arrays) for item in items)


def _pickled_call(
    module: str, name: str, values: Iterable[Any], arrays: list[np.ndarray | Lazy]
) -> bytes:
    """A call: NAME ( … t R."""
    return _pickled_name(module, name) + b"(" + _pickled_items(values, arrays) + b"tR"


def _pickled_tensor(tensor: np.ndarray | Lazy, number: int) -> bytes:
    """_rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks).

    The storage is a persistent id (torch_io), and the file's member `data/NUMBER`. Types that
    have no storage of their own have plain bytes, and are named at the end: _rebuild_tensor_v3.
    """
    shape = tensor.shape
    dtype = np.dtype(tensor.dtype)
    length = math.prod(shape)
    if dtype in _NAMES:
        storage_type = _pickled_name("torch", _NAMES[dtype])
        rebuild = "_rebuild_tensor_v2"
        type_name = b""
    elif dtype in _OTHER_NAMES:
        storage_type = _pickled_name("torch.storage", "UntypedStorage")
        rebuild = "_rebuild_tensor_v3"
        type_name = _pickled_name("torch", _OTHER_NAMES[dtype])
        length *= dtype.itemsize
    else:
        raise InputError(f"a weight file written here cannot hold {dtype}")
    # A tuple as a persistent id: ( … t Q.
    storage = (
        b"("
        + _pickled("storage", [])
        + storage_type
        + _pickled_items((str(number), "cpu", length), [])
        + b"tQ"
    )
    # A call without arguments: NAME ) R.
    no_hooks = _pickled_name("collections", "OrderedDict") + b")R"
    # The call: NAME ( … t R.
    return (
        _pickled_name("torch._utils", rebuild)
        + b"("
        + storage
        + _pickled_items((0, shape, _contiguous_strides(shape), False), [])
        + no_hooks
        + type_name
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
