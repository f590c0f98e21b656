"""PyTorch's files (`.pt`, `.pth`, `.bin`), read and written without PyTorch.

A file is a zip of uncompressed members: `data.pkl`, a pickle of the structure in which a tensor is
(storage, offset, shape, stride), and `data/N`, the storages' bytes. Before version 1.6 it was some
pickles one after another: a magic number, the structure, the storages' keys; then their bytes in
that order.

Reading interprets the pickle with the names that PyTorch's weights-only loader takes
(torch_objects); one that asks for anything else is refused, and nothing of it is executed. A
tensor's bytes are read when it is used, and are gone when its array is.

Why not PyTorch's own loader: it would bring gigabytes (with CUDA) into an environment for the sake
of this one file, and it cannot give bfloat16 as numpy. An optional test compares both directions
with PyTorch itself.
"""

import io
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from shotstream_jax.checkpoint.foreign import check_is_weights
from shotstream_jax.convert.names import Lazy
from shotstream_jax.convert.torch_objects import (
    ByteRange,
    RefusedError,
    Storage,
    find_name,
)
from shotstream_jax.convert.torch_pickle import pickle_structure
from shotstream_jax.convert.unpickle import load_pickle
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import whole

_TEXTS = "extra"  # a folder in the zip for what is no tensor
_ALIGNMENT = 64  # of a storage in the file, so that it can be mapped
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name
_PADDING_FIELD = 0x4246  # the id of the extra field that pads, as PyTorch writes it

# A structure of ten thousand tensors takes 2 MB; a damaged size must not fill the memory.
_LARGEST_STRUCTURE = 16 * 2**20
_LONGEST_REASON = 200  # characters
_ZIP_SIGN = b"PK"
_MEMBER_SIGN = b"PK\x03\x04"
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_TAR_SIGN = b"ustar"
_TAR_SIGN_PLACE = 257

# All that zip, pickle and numbers raise over a file that is cut, changed or something else.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
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
    """The structure in a PyTorch file: dicts, lists, scalars, and a `Lazy` array for every tensor.

    A torch.dtype is a `TorchDtype`, a device its name. Raises InputError if the file is missing or
    damaged, or asks for anything that weights do not need.
    """
    path = pathlib.Path(path)
    check_is_weights(path)
    try:
        return _read_structure(path)
    except InputError:
        raise
    except RefusedError as refusal:
        raise InputError(f"{path} {refusal}") from None
    except _DAMAGE as error:
        # Some of these say all that they have seen of the file.
        said = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
        raise InputError(
            f"{path} is damaged, or not a PyTorch file ({said}): fetch it again"
        ) from None


def _read_structure(path: pathlib.Path) -> Any:
    with _BoundedFile(path) as file:
        beginning = file.read(_TAR_SIGN_PLACE + len(_TAR_SIGN))
        file.seek(0)
        # The old format starts with a pickle of a number.
        if beginning[:1] == b"\x80":
            return _read_old_format(path, file)
        if beginning.endswith(_TAR_SIGN):
            raise RefusedError(
                "is a tar archive, PyTorch's format before 0.1.10 (2017): "
                "load it with PyTorch and save it again"
            )
        if not beginning.startswith(_ZIP_SIGN):
            raise ValueError("it is neither a zip nor a pickle")
        return _read_zip(path, file)


class _BoundedFile(io.FileIO):
    """A file of which no call reads more than a structure may have, whatever a size in it says."""

    def read(self, size: int | None = -1) -> bytes:
        """Like any file's. Raises ValueError for more bytes than the bound."""
        remaining = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        if size is None or size < 0:
            size = remaining
        size = min(size, remaining)
        if size > _LARGEST_STRUCTURE:
            raise ValueError(f"it has {size >> 20} MB where its structure should be")
        return super().read(size)


# The zip format.


def _read_zip(path: pathlib.Path, file: _BoundedFile) -> Any:
    with zipfile.ZipFile(file) as archive:
        # Members are named `FOLDER/data.pkl`, whatever the folder is called.
        members = {}
        for info in archive.infolist():
            members[info.filename.partition("/")[2]] = info
        if "constants.pkl" in members:
            raise RefusedError("is a TorchScript program: save its state dict alone")
        if "data.pkl" not in members:
            raise RefusedError("holds no data.pkl: it is not a PyTorch file")
        if "byteorder" in members and _read_member(archive, members["byteorder"]) != b"little":
            raise RefusedError("was written on a big-endian machine: save it again on another")
        # Only the structure is read; tensors remember where their bytes lie.
        structure = io.BytesIO(_read_member(archive, members["data.pkl"]))
    places: dict[Any, ByteRange] = {}

    def load_storage(pid: Any) -> Storage:
        """A storage by its id: ("storage", type, key, device, number of elements)."""
        dtype, key, length = _checked_id(pid)
        if key not in places:
            places[key] = _member_place(file, members, key)
        if places[key].nbytes < length * dtype.itemsize:
            raise RefusedError(f"is truncated at data/{key}: fetch it again")
        return Storage(path, places[key], 0, dtype, length)

    return load_pickle(structure, find_name, load_storage)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A small member, which may be compressed."""
    if info.file_size > _LARGEST_STRUCTURE:
        raise ValueError(f"{info.filename} has more than {_LARGEST_STRUCTURE >> 20} MB")
    # No more is unpacked than the list of members says.
    with archive.open(info) as member:
        return member.read(info.file_size)


def _checked_id(pid: Any) -> tuple[np.dtype, Any, int]:
    """The type, the key and the number of elements in a storage's id."""
    word, dtype, key, _, length = pid[:5]
    if word != "storage":
        raise RefusedError("is a whole pickled model: save its state dict alone")
    is_length = type(length) is int and length >= 0
    if not isinstance(dtype, np.dtype) or not isinstance(key, str) or not is_length:
        raise ValueError("a storage has no type, key or length")
    return dtype, key, length


def _member_place(file: BinaryIO, members: dict[str, zipfile.ZipInfo], key: str) -> ByteRange:
    """Where a storage's bytes lie in the zip."""
    # Uncompressed, its elements can be read in place.
    info = members[f"data/{key}"]
    if info.compress_type != zipfile.ZIP_STORED:
        raise RefusedError("is compressed: unpack it and zip it without compression")
    # A member's data follows its local header, whose name and extra field vary in length.
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    if not header.startswith(_MEMBER_SIGN):
        raise ValueError(f"data/{key} is not where the list of members says")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    start = info.header_offset + _LOCAL_HEADER + name_length + extra_length
    # It must lie in the file as a whole.
    size = file.seek(0, os.SEEK_END)
    if start + info.file_size > size:
        raise RefusedError(f"is truncated at data/{key}: fetch it again")
    return ByteRange(info.file_size, start)


# The format before 1.6.


def _read_old_format(path: pathlib.Path, file: _BoundedFile) -> Any:
    # The pickles are at the beginning; the storages, which may be large, follow.
    size = os.fstat(file.fileno()).st_size
    pickles = io.BytesIO(file.read(min(size, _LARGEST_STRUCTURE)))
    if _load_plain(pickles) != _MAGIC_NUMBER or _load_plain(pickles) != _PROTOCOL:
        raise RefusedError(
            "is a pickle, but none that PyTorch has written: it is no file of weights"
        )
    machine = _load_plain(pickles)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise RefusedError("was written on a big-endian machine: save it again on another")
    places: dict[str, ByteRange] = {}

    def load_storage(pid: Any) -> Storage:
        """By ("storage", type, key, device, elements, None or (key, offset, elements))."""
        dtype, key, length = _checked_id(pid)
        place = places.setdefault(key, ByteRange(length * dtype.itemsize))
        if place.nbytes != length * dtype.itemsize:
            raise ValueError(f"the storage {key} has two lengths")
        if len(pid) < 6 or pid[5] is None:
            return Storage(path, place, 0, dtype, length)
        # A part of the storage, as the oldest of these files have it.
        _, offset, part = pid[5]
        if not 0 <= offset <= offset + part <= length:
            raise ValueError(f"a part reaches beyond the storage {key}")
        return Storage(path, place, offset * dtype.itemsize, dtype, part)

    structure = load_pickle(pickles, find_name, load_storage)
    keys = _load_plain(pickles)
    _find_old_places(file, pickles.tell(), keys, places)
    return structure


def _load_plain(pickles: BinaryIO) -> Any:
    """The next pickle, of numbers and texts alone."""
    return load_pickle(pickles, find_name, _no_storage)


def _no_storage(pid: Any) -> Any:
    raise ValueError("there is a storage where a number should be")


def _find_old_places(file: BinaryIO, at: int, keys: Any, places: dict[str, ByteRange]) -> None:
    """Finds the storages, which lie one after another, each behind its number of elements."""
    end = file.seek(0, os.SEEK_END)
    if not isinstance(keys, list) or set(keys) != set(places):
        raise ValueError("its storages are not those that its tensors have")
    for key in keys:
        place = places[key]
        place.start = at + 8
        at = place.start + place.nbytes
        if at > end:
            raise RefusedError(f"is truncated at the storage {key}: fetch it again")


# Writing.


def read_torch_text(path: str | pathlib.Path, name: str) -> str | None:
    """A text that `write_torch` has put beside the tensors; None if the file has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(f"/{_TEXTS}/{name}"):
                    return _read_member(archive, info).decode()
    # Whatever is wrong with the file is told where its tensors are read.
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None
    return None


def write_torch(
    path: str | pathlib.Path,
    structure: Any,
    progress: Callable[[int], object] = lambda _: None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes dicts, lists and scalars, with arrays as tensors.

    `Lazy` arrays are read one at a time. The file has its final name only when it is whole.
    progress: called with the number of bytes just written. texts: by name, what stands beside the
    tensors in members that PyTorch does not look at. Raises OSError, and InputError for
    anything else in the structure.
    """
    path = pathlib.Path(path)
    # The structure first, which numbers the arrays, then their bytes in that order.
    arrays: list[np.ndarray | Lazy] = []
    pickled = pickle_structure(structure, arrays)
    with whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        _add_member(archive, f"{path.stem}/data.pkl", pickled)
        _add_member(archive, f"{path.stem}/byteorder", b"little")
        for i, array in enumerate(arrays):
            # Read here if it is lazy, and forgotten after its member is written.
            flat = np.ascontiguousarray(array).reshape(-1)
            _add_member(archive, f"{path.stem}/data/{i}", flat.view(np.uint8).data)
            progress(flat.nbytes)
        _add_member(archive, f"{path.stem}/version", b"3\n")
        for name, text in (texts or {}).items():
            _add_member(archive, f"{path.stem}/{_TEXTS}/{name}", text.encode())


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
