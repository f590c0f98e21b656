"""Weight files as lazy state dicts."""

import json
import math
import pathlib
import struct
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import safetensors

from shotstream_jax.convert.rules import LazyState
from shotstream_jax.core.errors import InputError

_FLOATS = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16, "F64": np.float64}


class SafetensorsState(LazyState):
    """A .safetensors file; an array is read when it is asked for.

    The file is mapped anew for each: a mapping that stays open would keep every page it has touched resident.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        try:
            with self._open() as file:
                slices = {key: file.get_slice(key) for key in file.keys()}
                kinds = {key: part.get_dtype() for key, part in slices.items()}
                self._shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
        except FileNotFoundError:
            raise InputError(f"there is no weight file {path}") from None
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(f"{path} is unreadable or truncated ({error}): fetch it again") from None
        if strange := [f"{key} {kind}" for key, kind in kinds.items() if kind not in _FLOATS]:
            raise InputError(f"{path} has types other than {', '.join(_FLOATS)}: {', '.join(strange[:10])}")
        self._kinds = kinds

    def __getitem__(self, key: str) -> np.ndarray:
        with self._open() as file:
            return file.get_tensor(key)

    def _open(self) -> safetensors.safe_open:
        return safetensors.safe_open(self.path, framework="numpy")

    def shape(self, key: str) -> tuple[int, ...]:
        return self._shapes[key]

    def dtype(self, key: str) -> np.dtype:
        return np.dtype(_FLOATS[self._kinds[key]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def write_safetensors(state: LazyState, path: str | pathlib.Path, progress: Callable[[int], None]) -> None:
    """Writes a state dict one tensor at a time; the file has its final name only when it is whole.

    The format: the header's length (8 bytes, little-endian), the header as JSON, the tensors' bytes in order.
    """
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    kinds = {np.dtype(kind): name for name, kind in _FLOATS.items()}
    header, offset = {}, 0
    for key in state:
        shape, dtype = state.shape(key), state.dtype(key)
        end = offset + math.prod(shape) * dtype.itemsize
        header[key] = {"dtype": kinds[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for key in state:
            array = np.ascontiguousarray(state[key])
            file.write(memoryview(array.reshape(-1).view(np.uint8)))
            progress(array.nbytes)
    partial.replace(path)
