"""Writers of public containers, by the formats' descriptions and without the package's own code."""

import json
import pathlib
import struct
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
