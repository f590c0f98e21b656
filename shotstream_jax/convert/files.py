"""Weight files as lazy state dicts."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from shotstream_jax.convert.rules import LazyState
from shotstream_jax.core.errors import InputError

_FLOATS = ("F32", "BF16", "F16", "F64")


class SafetensorsState(LazyState):
    """A .safetensors file; an array is read when it is asked for."""

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        try:
            self._file = safetensors.safe_open(self.path, framework="numpy")
            kinds = {key: self._file.get_slice(key).get_dtype() for key in self._file.keys()}
        except FileNotFoundError:
            raise InputError(f"there is no weight file {path}") from None
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(f"{path} is unreadable or truncated ({error}): fetch it again") from None
        if strange := [f"{key} {kind}" for key, kind in kinds.items() if kind not in _FLOATS]:
            raise InputError(f"{path} has types other than {', '.join(_FLOATS)}: {', '.join(strange[:10])}")
        self._keys = list(kinds)

    def __getitem__(self, key: str) -> np.ndarray:
        return self._file.get_tensor(key)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(key).get_shape())

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def save_safetensors(state: dict[str, Any], path: str | pathlib.Path) -> None:
    """Writes a public state dict; the file has its final name only when it is whole."""
    path = pathlib.Path(path)
    partial = path.with_name(path.name + ".partial")
    safetensors.numpy.save_file(state, partial)
    partial.replace(path)
