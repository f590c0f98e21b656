"""One part of a model (`dit`, `vae`, `text`, a decoder) on disk, in one of two storages.

    folder    dit/blocks/ffn_in/kernel/…   a zarr array for each parameter
    file      dit.safetensors              all parameters, by their paths: blocks/ffn_in/kernel

Both hold our own parameter tree, layers stacked, in the types that the writer had.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import flax
import numpy as np

from shotstream_jax.checkpoint.arrays import (
    ArraySpec,
    FileWriter,
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

    specs: the shape and type of every parameter. pieces: makes its values, one at a time, so that
    only one needs to be in memory. source: the public file that they come from. facts: what
    config.json tells of the part beside that.
    """

    specs: Mapping[ParamPath, ArraySpec]
    pieces: Callable[[], Iterable[Piece]]
    source: pathlib.Path | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def dtypes(self) -> list[str]:
        """The names of the types that occur."""
        return sorted({spec.dtype.name for spec in self.specs.values()})


def is_stacked(path: ParamPath) -> bool:
    """Whether a parameter's first axis counts layers."""
    return path[0] == "blocks"


def part_of_tree(params: Params) -> PartToWrite:
    """A part in memory, ready to be stored as it is."""
    flat = flax.traverse_util.flatten_dict(params)
    specs = {}
    for path, leaf in flat.items():
        specs[path] = ArraySpec(tuple(leaf.shape), np.dtype(leaf.dtype))

    def pieces() -> Iterator[Piece]:
        """Parameters in the order of the tree, the layers of a stacked one in theirs."""
        for path, leaf in flat.items():
            # From its device, or from the slices on many of them.
            array = np.asarray(leaf)
            if not is_stacked(path):
                yield Piece(path, None, array)
                continue
            for layer, values in enumerate(array):
                yield Piece(path, layer, values)

    return PartToWrite(specs, pieces)


def find_part(folder: pathlib.Path, part: str) -> pathlib.Path:
    """Where a checkpoint folder has a part: in one file, or in a folder."""
    file = folder / f"{part}.safetensors"
    if file.is_file():
        return file
    # If it has neither, opening the folder's arrays says so.
    return folder / part


def open_part(place: pathlib.Path, paths: Iterable[ParamPath]) -> dict[ParamPath, StoredArray]:
    """The parameters of a part, not read yet.

    Raises InputError if one is missing or the storage is damaged.
    """
    arrays: dict[ParamPath, StoredArray] = {}
    if place.suffix != ".safetensors":
        for path in paths:
            arrays[path] = open_array(place, "/".join(path))
        return arrays

    # All names are in the file's header, which is read once.
    stored = open_file_arrays(place)
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
    with _open_writer(folder, name, part.specs, storage) as write:
        for piece in part.pieces():
            write(piece)
            progress(piece.array.nbytes)


@contextlib.contextmanager
def _open_writer(
    folder: pathlib.Path, name: str, specs: Mapping[ParamPath, ArraySpec], storage: str
) -> Iterator[Callable[[Piece], None]]:
    """Gives a function that stores a piece."""
    if storage == "file":
        # Types and places of all arrays are in the header, before any value.
        named = {"/".join(path): spec for path, spec in specs.items()}
        with FileWriter(folder / f"{name}.safetensors", named) as file:

            def write_to_file(piece: Piece) -> None:
                """Writes to the piece's place in the file."""
                file.write("/".join(piece.path), piece.array, piece.layer)

            yield write_to_file
        return

    # The other storage: empty arrays for all parameters, filled piece by piece.
    arrays = {}
    for path, spec in specs.items():
        arrays[path] = create_array(
            folder / name,
            "/".join(path),
            spec.shape,
            spec.dtype,
            stacked=is_stacked(path),
        )

    def write_to_folder(piece: Piece) -> None:
        """Writes to the parameter's array, or to one layer of it."""
        array = arrays[piece.path]
        if piece.layer is None:
            array.write(piece.array)
        else:
            array.write(piece.array, piece.layer)

    yield write_to_folder
