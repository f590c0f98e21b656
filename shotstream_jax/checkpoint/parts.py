"""One part of a model (`dit`, `vae` or `text`) on disk, in one of two storages.

    folder    dit/blocks/ffn_in/kernel/…   a zarr array for each parameter
    file      dit.safetensors              all parameters, named by their paths: blocks/ffn_in/kernel

Both hold our own parameter tree, layers stacked, in the types that the writer had.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import flax
import numpy as np

from shotstream_jax.checkpoint.arrays import (
    FileWriter,
    Layout,
    StoredArray,
    create_array,
    open_array,
    open_file_arrays,
)
from shotstream_jax.core.errors import InputError
from shotstream_jax.model import Params

STORAGES = ("folder", "file")

ParamPath = tuple[str, ...]  # of a parameter in its part, e.g. ("blocks", "ffn_in", "kernel")
Progress = Callable[[int], object]  # called with the number of bytes just written


class Piece(NamedTuple):
    """A parameter, or one layer of a stacked parameter."""

    path: ParamPath
    layer: int | None
    array: np.ndarray


@dataclasses.dataclass(frozen=True)
class PartToWrite:
    """A part that can be stored piece by piece.

    layouts: the shape and type of every parameter. pieces: makes its values, one at a time, so that only one needs to
    be in memory. source: the public file that they come from.
    """

    layouts: Mapping[ParamPath, Layout]
    pieces: Callable[[], Iterable[Piece]]
    source: pathlib.Path | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(layout.nbytes for layout in self.layouts.values())

    @property
    def dtypes(self) -> list[str]:
        """The names of the types that occur."""
        return sorted({layout.dtype.name for layout in self.layouts.values()})


def is_stacked(path: ParamPath) -> bool:
    """Whether a parameter's first axis counts layers."""
    return path[0] == "blocks"


def part_of_tree(params: Params) -> PartToWrite:
    """A part in memory, ready to be stored as it is."""
    flat = flax.traverse_util.flatten_dict(params)
    layouts = {path: Layout(tuple(a.shape), np.dtype(a.dtype)) for path, a in flat.items()}

    def pieces() -> Iterator[Piece]:
        for path, leaf in flat.items():
            array = np.asarray(leaf)
            if not is_stacked(path):
                yield Piece(path, None, array)
                continue
            for layer, values in enumerate(array):
                yield Piece(path, layer, values)

    return PartToWrite(layouts, pieces)


def find_part(folder: pathlib.Path, part: str) -> pathlib.Path:
    """Where a checkpoint folder has a part: in one file, or in a folder."""
    file = folder / f"{part}.safetensors"
    return file if file.is_file() else folder / part


def open_part(place: pathlib.Path, paths: Iterable[ParamPath]) -> dict[ParamPath, StoredArray]:
    """The parameters of a part, not read yet.

    Raises InputError if one is missing or the storage is damaged.
    """
    if place.suffix != ".safetensors":
        return {path: open_array(place, "/".join(path)) for path in paths}
    stored = open_file_arrays(place)
    arrays: dict[ParamPath, StoredArray] = {}
    for path in paths:
        name = "/".join(path)
        if name not in stored:
            raise InputError(f"{place} lacks {name}: convert it again")
        arrays[path] = stored[name]
    return arrays


def write_part(
    folder: pathlib.Path, name: str, part: PartToWrite, storage: str, progress: Progress
) -> None:
    """Stores a part in a checkpoint folder. Raises OSError if the disk refuses it."""
    with _open_writer(folder, name, part.layouts, storage) as write:
        for piece in part.pieces():
            write(piece)
            progress(piece.array.nbytes)


@contextlib.contextmanager
def _open_writer(
    folder: pathlib.Path, name: str, layouts: Mapping[ParamPath, Layout], storage: str
) -> Iterator[Callable[[Piece], None]]:
    """Gives a function that stores a piece."""
    if storage == "file":
        named = {"/".join(path): layout for path, layout in layouts.items()}
        with FileWriter(folder / f"{name}.safetensors", named) as file:

            def write_to_file(piece: Piece) -> None:
                file.write("/".join(piece.path), piece.array, piece.layer)

            yield write_to_file
        return

    arrays = {}
    for path, (shape, dtype) in layouts.items():
        stacked = is_stacked(path)
        arrays[path] = create_array(folder / name, "/".join(path), shape, dtype, stacked=stacked)

    def write_to_folder(piece: Piece) -> None:
        index = ... if piece.layer is None else piece.layer
        arrays[piece.path].write(piece.array, index)

    yield write_to_folder
