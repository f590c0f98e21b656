"""Writers of public containers, by the formats' descriptions and without the package's own code."""

import io
import json
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Mapping

import numpy as np

TYPE_NAMES = {
    "float32": "F32",
    "float64": "F64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "bool": "BOOL",
}


def write_safetensors_file(
    path: pathlib.Path,
    state: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """A `.safetensors` file."""
    header: dict = {}
    if metadata:
        header["__metadata__"] = dict(metadata)
    end = 0
    data = b""
    for name, value in state.items():
        array = np.asarray(value)
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": TYPE_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


_MADE: dict[tuple[str, str], type] = {}


def stand_in(module: str, name: str) -> type:
    """A class of this name, in a module of this name that only pickling sees."""
    if (module, name) not in _MADE:
        _MADE[module, name] = type(name, (), {"__module__": module})
    return _MADE[module, name]


class Storage:
    """The values that tensors of a PyTorch file share."""

    def __init__(self, values: np.ndarray, key: str, kind: str) -> None:
        self.values = values
        self.key = key
        self.is_plain = kind == "UntypedStorage"
        self.kind = stand_in("torch.storage" if self.is_plain else "torch", kind)


class Tensor:
    """A tensor as PyTorch pickles it: `call` of `module` with the storage and further arguments."""

    def __init__(self, call: str, *arguments: object, module: str = "torch._utils") -> None:
        self.call = stand_in(module, call)
        self.arguments = arguments


class _Pickler(pickle.Pickler):
    """Python's own pickler, with PyTorch's persistent ids and names."""

    def __init__(self, file: io.BytesIO, old: bool, storages: dict[str, Storage]) -> None:
        super().__init__(file, 2)
        self.old = old
        self.storages = storages

    def persistent_id(self, value: object) -> object:
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value
        values = value.values
        length = values.nbytes if value.is_plain else values.size
        pid = ("storage", value.kind, value.key, "cpu", length)
        return (*pid, None) if self.old else pid

    def reducer_override(self, value: object) -> object:
        if isinstance(value, Tensor):
            return value.call, value.arguments
        return NotImplemented


def torch_pickle(value: object, old: bool, storages: dict[str, Storage]) -> bytes:
    """A pickle as PyTorch writes it; the storages that it names are added to `storages`."""
    file = io.BytesIO()
    before = dict(sys.modules)
    roots = {module.split(".")[0] for module, _ in _MADE}
    for name in before:
        if name.split(".")[0] in roots:
            del sys.modules[name]
    for (module, name), made in _MADE.items():
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            place = ".".join(parts[:end])
            sys.modules.setdefault(place, types.ModuleType(place))
        setattr(sys.modules[module], name, made)
    try:
        _Pickler(file, old, storages).dump(value)
    finally:
        sys.modules.clear()
        sys.modules.update(before)
    return file.getvalue()


def write_torch_zip(path: pathlib.Path, value: object) -> None:
    """A file of PyTorch 1.6 and later."""
    storages: dict[str, Storage] = {}
    data = torch_pickle(value, False, storages)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", b"little")
        for key, storage in storages.items():
            archive.writestr(f"archive/data/{key}", storage.values.tobytes())
        archive.writestr("archive/version", b"3\n")


def write_torch_old(path: pathlib.Path, value: object) -> None:
    """A file of PyTorch before 1.6."""
    storages: dict[str, Storage] = {}
    structure = torch_pickle(value, True, storages)
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    data = b""
    for plain in (0x1950A86A20F9469CFC6C, 1001, machine):
        data += pickle.dumps(plain, 2)
    data += structure + pickle.dumps(sorted(storages), 2)
    for key in sorted(storages):
        values = storages[key].values
        data += struct.pack("<q", values.size) + values.tobytes()
    path.write_bytes(data)


def gguf_text(value: str) -> bytes:
    """A text in a GGUF header: its length, and UTF-8."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf_fact(name: str, kind: int, data: bytes) -> bytes:
    """A fact: its name, the number of its type, its value."""
    return gguf_text(name) + struct.pack("<I", kind) + data


def gguf_info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    """Where an array lies, and its type's number."""
    axes = b"".join(struct.pack("<Q", length) for length in reversed(shape))
    return gguf_text(name) + struct.pack("<I", len(shape)) + axes + struct.pack("<IQ", kind, offset)


def write_gguf_raw(
    path: pathlib.Path, facts=(), infos=(), data=b"", version=3, counts=None
) -> None:
    """A `.gguf` file. counts: the numbers of arrays and facts that its header claims."""
    counts = counts or (len(infos), len(facts))
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(facts) + b"".join(infos)
    path.write_bytes(head + bytes(-len(head) % 32) + data)


GGUF_NUMBERS = {"float32": 0, "float16": 1, "int8": 24, "int32": 26, "float64": 28, "bfloat16": 30}
Q8_0 = 8


def q8_0_blocks(numbers: np.ndarray, scales: np.ndarray) -> bytes:
    """int8 [blocks, 32] and float16 [blocks] as GGUF's Q8_0 has them: a scale, then its numbers."""
    blocks = [scale.tobytes() + row.tobytes() for scale, row in zip(scales, numbers, strict=True)]
    return b"".join(blocks)


def write_gguf_file(
    path: pathlib.Path,
    state: Mapping[str, np.ndarray],
    quantised: Mapping[str, bytes] | None = None,
) -> None:
    """Arrays as they are, but for those whose Q8_0 blocks are given."""
    infos = []
    data = b""
    for name, array in state.items():
        blocks = (quantised or {}).get(name)
        number = GGUF_NUMBERS[array.dtype.name] if blocks is None else Q8_0
        infos.append(gguf_info(name, array.shape, number, len(data)))
        data += array.tobytes() if blocks is None else blocks
        data += bytes(-len(data) % 32)
    write_gguf_raw(path, [gguf_fact("general.architecture", 8, gguf_text("wan"))], infos, data)
