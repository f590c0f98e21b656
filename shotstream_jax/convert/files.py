"""Weight files as lazy state dicts."""

import functools
import json
import math
import pathlib
import struct
from collections.abc import Callable

import ml_dtypes
import numpy as np
import safetensors

from shotstream_jax.convert.rules import Lazy, State
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.files import whole

_FLOATS = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16, "F64": np.float64}


def read_safetensors(path: str | pathlib.Path) -> State:
    """The state dict of a .safetensors file, unread.

    The file is mapped anew for each array: a mapping that stays open would keep every page it has touched resident.
    """
    path = pathlib.Path(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}
            facts = {
                key: (tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()
            }
    except FileNotFoundError:
        raise InputError(f"there is no weight file {path}") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path} is unreadable or truncated ({error}): fetch it again") from None
    if strange := [f"{key} {kind}" for key, (_, kind) in facts.items() if kind not in _FLOATS]:
        raise InputError(
            f"{path} has types other than {', '.join(_FLOATS)}: {', '.join(strange[:10])}"
        )
    return {
        key: Lazy(shape, np.dtype(_FLOATS[kind]), functools.partial(_read, path, key))
        for key, (shape, kind) in facts.items()
    }


def _read(path: pathlib.Path, key: str) -> np.ndarray:
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.get_tensor(key)


def write_safetensors(
    state: State, path: str | pathlib.Path, progress: Callable[[int], None]
) -> None:
    """Writes a state dict one tensor at a time; the file has its final name only when it is whole.

    The format: the header's length (8 bytes, little-endian), the header as JSON, the tensors' bytes in order.
    """
    kinds = {np.dtype(kind): name for name, kind in _FLOATS.items()}
    if strange := [
        f"{key} {array.dtype}" for key, array in state.items() if array.dtype not in kinds
    ]:
        raise InputError(
            f"{path} can hold {', '.join(_FLOATS)} only, not {', '.join(strange[:10])}"
        )
    header, offset = {}, 0
    for key, array in state.items():
        end = offset + math.prod(array.shape) * array.dtype.itemsize
        header[key] = {
            "dtype": kinds[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with whole(pathlib.Path(path)) as partial, partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for lazy in state.values():
            array = np.ascontiguousarray(lazy)
            file.write(memoryview(array.reshape(-1).view(np.uint8)))
            progress(array.nbytes)
