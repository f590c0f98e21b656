"""`.safetensors` files as state dicts whose arrays are read when they are used."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from shotstream_jax.checkpoint.arrays import ArraySpec, FileWriter, open_file_arrays
from shotstream_jax.checkpoint.header import read_header
from shotstream_jax.convert.container import container_of
from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.core.files import whole


def read_safetensors(path: str | pathlib.Path) -> State:
    """The state dict of a `.safetensors` file, not read yet.

    Raises InputError if the file is missing or damaged, or has types that are not read.
    """
    state = {}
    for name, stored in open_file_arrays(pathlib.Path(path)).items():
        state[name] = Lazy(stored.shape, stored.dtype, stored.read)
    return state


def read_metadata(path: str | pathlib.Path) -> dict[str, str]:
    """The texts in the header of a `.safetensors` file, its `__metadata__`; {} if it has none.

    Other kinds of files have none. Raises InputError if the file is missing or damaged.
    """
    path = pathlib.Path(path)
    if container_of(path) != "safetensors":
        return {}
    return read_header(path).metadata


def write_safetensors(
    state: State,
    path: str | pathlib.Path,
    progress: Callable[[int], object],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes a state dict, one array in memory at a time.

    The file has its final name only when it is whole. progress: called with the number of bytes
    just written. texts: what `read_metadata` gives. Raises InputError for types that the format
    cannot hold, and OSError.
    """
    specs = {}
    for name, array in state.items():
        specs[name] = ArraySpec(tuple(array.shape), np.dtype(array.dtype))
    with whole(pathlib.Path(path)) as partial, FileWriter(partial, specs, texts) as file:
        # Lazy arrays are read here, one after another.
        for name, lazy in state.items():
            array = np.asarray(lazy)
            file.write(name, array)
            progress(array.nbytes)
