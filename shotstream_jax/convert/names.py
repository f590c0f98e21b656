"""Conversion tables: every public parameter's name and shape, and the parameter of ours that it is.

An entry moves the axes of the public array (`axes`) and then takes our parameter's shape; the way
back is the inverse. Of a parameter whose layers we keep stacked, `layer` is the layer's number in
the public name. Tables are made from the sizes alone, so they are strict: a key that a table does
not name is unexpected, and one that a file lacks is missing.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from shotstream_jax.checkpoint.parts import ParamPath
from shotstream_jax.core.errors import InputError

State = Mapping[str, Any]  # a state dict: name → array, or `Lazy`

VECTOR = (0,)
LINEAR = (1, 0)  # [out, in] → [in, out]
CONV2D = (2, 3, 1, 0)  # [out, in, y, x] → [y, x, in, out]
CONV3D = (2, 3, 4, 1, 0)  # [out, in, t, y, x] → [t, y, x, in, out]


@dataclasses.dataclass(frozen=True)
class Lazy:
    """Stands for an array in a state dict, of which the shape and the type are known.

    numpy.asarray reads it, anew each time.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.read()
        if dtype is None:
            return array
        return array.astype(dtype, copy=False)


def state_bytes(state: State) -> int:
    """Bytes of all the arrays of a state dict."""
    total = 0
    for array in state.values():
        total += math.prod(array.shape) * array.dtype.itemsize
    return total


@dataclasses.dataclass(frozen=True)
class Entry:
    """One public parameter: its name, its shape, and where it goes."""

    public: str
    shape: tuple[int, ...]
    path: ParamPath
    axes: tuple[int, ...]
    layer: int | None = None

    @property
    def slot(self) -> str:
        """The place in our tree that it fills, e.g. `blocks/ffn_in/kernel[3]`."""
        return _slot_name(self.path, self.layer)


class Table:
    """The entries of a part, or a view of it that adds entries under a prefix (`under`)."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._public: tuple[str, ...] = ()  # the prefix of public names
        self._path: ParamPath = ()  # the prefix of our paths
        self._layer: int | None = None

    def under(self, public: str, path: str, layer: int | None = None) -> "Table":
        """A view whose entries start with these names, here and there, and are of this layer."""
        # The view adds to this table's own list.
        view = Table()
        view.entries = self.entries
        view._public = (*self._public, public)
        view._path = (*self._path, *path.split("/"))
        view._layer = self._layer if layer is None else layer
        return view

    def add(
        self,
        public: str,
        shape: Sequence[int],
        path: str,
        axes: Sequence[int] | None = None,
    ) -> None:
        """Adds a parameter.

        public: its name. shape: in the public file. path: ours, joined by `/`. axes: the order of
        the public axes here (default: the same).
        """
        # In the same order, unless told otherwise.
        if axes is None:
            axes = range(len(shape))
        entry = Entry(
            public=".".join([*self._public, public]),
            shape=tuple(shape),
            path=(*self._path, *path.split("/")),
            axes=tuple(axes),
            layer=self._layer,
        )
        self.entries.append(entry)

    def kernel(
        self,
        public: str,
        shape: Sequence[int],
        path: str,
        axes: Sequence[int],
        bias: bool = True,
    ) -> None:
        """Adds a weight [out, …] and, unless told otherwise, its bias [out]."""
        self.add(f"{public}.weight", shape, f"{path}/kernel", axes)
        if bias:
            self.add(f"{public}.bias", shape[:1], f"{path}/bias", VECTOR)

    def linear(self, public: str, inputs: int, outputs: int, path: str, bias: bool = True) -> None:
        """Adds a Linear: its weight [out, in], which is [in, out] here, and its bias."""
        self.kernel(public, (outputs, inputs), path, LINEAR, bias)

    def vector(self, public: str, length: int, path: str) -> None:
        """Adds a vector, such as a norm's scale."""
        self.add(public, (length,), path, VECTOR)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Public name → public shape."""
        return {entry.public: entry.shape for entry in self.entries}


def our_layout(entry: Entry, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A public array in our layout, of our parameter's shape (a view where it can be)."""
    return array.transpose(entry.axes).reshape(shape)


def public_layout(entry: Entry, array: np.ndarray) -> np.ndarray:
    """The inverse of `our_layout`."""
    # First the public axes in our order, which our shape may have joined, then in their own order.
    moved_shape = [entry.shape[axis] for axis in entry.axes]
    moved = array.reshape(moved_shape)
    return np.ascontiguousarray(moved.transpose(np.argsort(entry.axes)))


def check_table(table: Table, shapes: Mapping[ParamPath, Any]) -> None:
    """Raises ValueError, as for any mistake of our own, if a table does not fit the parameters.

    shapes: arrays or ShapeDtypeStructs by path.
    """
    # No parameter is filled twice, and none is named twice.
    twice = _repeated([entry.slot for entry in table.entries])
    twice += _repeated([entry.public for entry in table.entries])
    if twice:
        raise ValueError(f"assigned twice: {_first_names(twice)}")

    # What is to be filled is what is filled.
    filled = {entry.slot for entry in table.entries}
    differing = _slots(table, shapes) ^ filled
    if differing:
        raise ValueError(
            f"the conversion table and the model disagree on: {_first_names(sorted(differing))}"
        )

    # Both have as many values.
    wrong = []
    for entry in table.entries:
        shape = shapes[entry.path].shape
        if entry.layer is not None:
            shape = shape[1:]
        if math.prod(shape) != math.prod(entry.shape):
            wrong.append(entry.public)
    if wrong:
        raise ValueError(
            f"the conversion table has another size than the model for: {_first_names(wrong)}"
        )


def _slots(table: Table, shapes: Mapping[ParamPath, Any]) -> set[str]:
    """Every place that must be filled: each parameter, or each layer of a stacked one."""
    stacked = {entry.path for entry in table.entries if entry.layer is not None}
    slots = set()
    for path, leaf in shapes.items():
        if path not in stacked:
            slots.add(_slot_name(path, None))
            continue
        for layer in range(leaf.shape[0]):
            slots.add(_slot_name(path, layer))
    return slots


def _slot_name(path: ParamPath, layer: int | None) -> str:
    name = "/".join(path)
    if layer is None:
        return name
    return f"{name}[{layer}]"


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def check_keys(table: Table, state: State) -> None:
    """Checks the keys of a state dict against a table; reads no array.

    Raises InputError if any are missing, unexpected or wrongly shaped; up to ten of each are named.
    """
    # Keys that only one side has, then shapes of those that both have.
    shapes = table.shapes()
    missing = sorted(shapes.keys() - state.keys())
    unexpected = sorted(state.keys() - shapes.keys())
    wrong = []
    for name in sorted(shapes.keys() & state.keys()):
        found = tuple(state[name].shape)
        if found != shapes[name]:
            wrong.append(f"{name} {list(found)} for {list(shapes[name])}")

    # All problems at once, in one line.
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing: {_first_names(missing)}")
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected: {_first_names(unexpected)}")
    if wrong:
        problems.append(f"{len(wrong)} of another shape: {_first_names(wrong)}")
    if problems:
        raise InputError("the weights do not fit the model: " + "; ".join(problems))


def _first_names(names: Sequence[str], most: int = 10) -> str:
    """The first names, and how many more there are."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f", … ({len(names) - most} more)"
    return text
