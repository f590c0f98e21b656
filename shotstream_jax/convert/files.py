"""Weight files as lazy state dicts."""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from shotstream_jax.convert.rules import LazyState
from shotstream_jax.core.errors import InputError


class SafetensorsState(LazyState):
    """A .safetensors file; an array is read when it is asked for."""

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise InputError(f"there is no weight file {path}")
        try:
            self._file = safetensors.safe_open(self.path, framework="numpy")
            self._keys = list(self._file.keys())
        except (safetensors.SafetensorError, OSError) as error:
            raise InputError(f"{path} is unreadable or truncated ({error}): fetch it again") from None

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
