"""The conversion tables: every public parameter name, its shape, and the parameter of ours that it is.

An entry moves the public axes (`axes`) and then takes our parameter's shape; the way back is the inverse. Layers that
we keep stacked have the public layer number as `layer`. Tables are made from the config alone, so they are strict: a
key that they do not name is unexpected, one that a file lacks is missing.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax
import numpy as np

from shotstream_jax.core.errors import InputError

Params = dict[str, Any]
Path = tuple[str, ...]
State = Mapping[str, Any]  # name → array, or `Lazy`

VECTOR = (0,)
LINEAR = (1, 0)  # [out, in] → [in, out]
CONV2D = (2, 3, 1, 0)  # [out, in, y, x] → [y, x, in, out]
CONV3D = (2, 3, 4, 1, 0)  # [out, in, t, y, x] → [t, y, x, in, out]


@dataclasses.dataclass(frozen=True)
class Lazy:
    """Stands for an array in a state dict: its shape and type are known, numpy.asarray reads it (anew each time)."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)


def state_bytes(state: State) -> int:
    """Bytes of all the arrays of a state dict."""
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in state.values())


@dataclasses.dataclass(frozen=True)
class Entry:
    """One public parameter."""

    public: str
    shape: tuple[int, ...]
    path: Path
    axes: tuple[int, ...]
    layer: int | None = None


class Table:
    """A part's entries; makes entries with their names' prefixes filled in."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(
        self,
        public: str,
        shape: Sequence[int],
        path: str,
        axes: Sequence[int] | None = None,
        layer: int | None = None,
    ):
        self.entries.append(
            Entry(
                public,
                tuple(shape),
                tuple(path.split("/")),
                tuple(axes or range(len(shape))),
                layer,
            )
        )

    def kernel(
        self,
        public: str,
        shape: Sequence[int],
        path: str,
        axes: tuple[int, ...],
        layer: int | None = None,
        bias=True,
    ):
        """A weight and, unless told otherwise, its bias."""
        self.add(f"{public}.weight", shape, f"{path}/kernel", axes, layer)
        if bias:
            self.add(f"{public}.bias", shape[:1], f"{path}/bias", VECTOR, layer)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {e.public: e.shape for e in self.entries}


def from_public(table: Table, abstract: Params, state: State) -> Params:
    """A public state dict → our tree of numpy arrays shaped like `abstract` (arrays or ShapeDtypeStructs).

    Lazy arrays are read once each.
    Raises InputError naming up to ten missing, unexpected or wrongly shaped keys.
    """
    flat = flax.traverse_util.flatten_dict(abstract)
    check_table(table, flat)
    check_keys(table, state)
    params = {path: np.empty(leaf.shape, leaf.dtype) for path, leaf in flat.items()}
    for entry in table.entries:
        array = np.asarray(state[entry.public])
        target = params[entry.path] if entry.layer is None else params[entry.path][entry.layer]
        target[...] = our_layout(entry, array, target.shape)
    return flax.traverse_util.unflatten_dict(params)


def to_public(table: Table, params: Params) -> dict[str, np.ndarray]:
    """Our tree → the public state dict. The inverse of from_public, bit for bit."""
    flat = flax.traverse_util.flatten_dict(params)
    check_table(table, flat)
    slot = lambda e: flat[e.path] if e.layer is None else flat[e.path][e.layer]  # noqa: E731
    return {entry.public: public_layout(entry, np.asarray(slot(entry))) for entry in table.entries}


def our_layout(entry: Entry, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A public array in our layout (a view where it can be)."""
    return array.transpose(entry.axes).reshape(shape)


def public_layout(entry: Entry, array: np.ndarray) -> np.ndarray:
    """The way back."""
    moved = [entry.shape[axis] for axis in entry.axes]
    return np.ascontiguousarray(array.reshape(moved).transpose(np.argsort(entry.axes)))


def check_table(table: Table, flat: Mapping[Path, Any]) -> None:
    """A table that does not fit the parameters is our own mistake: ValueError, not InputError."""
    targets = [(e.path, e.layer) for e in table.entries]
    twice = [f"{'/'.join(p)}[{i}]" for (p, i), n in Counter(targets).items() if n > 1]
    twice += [name for name, n in Counter(e.public for e in table.entries).items() if n > 1]
    if twice:
        raise ValueError(f"assigned twice: {_list(twice)}")
    wanted = set(_slots(table, flat))
    if wanted != set(targets):
        lost = sorted(
            "/".join(p) + ("" if i is None else f"[{i}]") for p, i in wanted ^ set(targets)
        )
        raise ValueError(f"the conversion table and the model disagree on: {_list(lost)}")
    wrong = [e.public for e in table.entries if _size(e, flat) != math.prod(e.shape)]
    if wrong:
        raise ValueError(
            f"the conversion table has another size than the model for: {_list(wrong)}"
        )


def _slots(table: Table, flat: Mapping[Path, Any]) -> Iterator[tuple[Path, int | None]]:
    stacked = {e.path for e in table.entries if e.layer is not None}
    for path, leaf in flat.items():
        yield from ((path, i) for i in range(leaf.shape[0])) if path in stacked else [(path, None)]


def _size(entry: Entry, flat: Mapping[Path, Any]) -> int:
    shape = flat[entry.path].shape
    return math.prod(shape if entry.layer is None else shape[1:])


def check_keys(table: Table, state: State) -> None:
    """Refuses a state dict with missing, unexpected or wrongly shaped keys; reads no array."""
    shapes = table.shapes()
    problems = []
    if missing := sorted(shapes.keys() - state.keys()):
        problems.append(f"{len(missing)} missing: {_list(missing)}")
    if unexpected := sorted(state.keys() - shapes.keys()):
        problems.append(f"{len(unexpected)} unexpected: {_list(unexpected)}")
    found = {k: tuple(state[k].shape) for k in shapes.keys() & state.keys()}
    if wrong := sorted(
        f"{k} {list(found[k])} for {list(shapes[k])}" for k in found if found[k] != shapes[k]
    ):
        problems.append(f"{len(wrong)} of another shape: {_list(wrong)}")
    if problems:
        raise InputError("the weights do not fit the model: " + "; ".join(problems))


def _list(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (
        f", … ({len(names) - most} more)" if len(names) > most else ""
    )
