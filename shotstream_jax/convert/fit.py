"""Which preset some parts of a model are, by the names and shapes of their parameters."""

import math
from collections.abc import Iterable, Mapping

from shotstream_jax.convert.names import State
from shotstream_jax.convert.tables import part_table
from shotstream_jax.core.errors import InputError
from shotstream_jax.presets import PRESETS, Preset

_Shapes = Mapping[str, tuple[int, ...]]


def find_preset_of(states: Mapping[str, State]) -> Preset:
    """The first preset that all parts fit.

    states: part → state dict under plain names. Raises InputError if none fits; it names the
    nearest preset and the first key that differs.
    """
    found = {}
    for part, state in states.items():
        for name, array in state.items():
            found[f"{part}/{name}"] = tuple(array.shape)
    expected = {}
    for name, preset in PRESETS.items():
        expected[name] = _shapes_of(preset, states)
        if expected[name] == found:
            return preset
    nearest = min(expected, key=lambda name: _distance(found, expected[name]))
    raise InputError(
        f"the weights fit no preset; the nearest is {nearest}, "
        f"which differs first in {_first_difference(found, expected[nearest])}"
    )


def _shapes_of(preset: Preset, parts: Iterable[str]) -> _Shapes:
    """The shapes of some parts of a preset, as `part/key`."""
    shapes = {}
    for part in parts:
        for key, shape in part_table(preset, part).shapes().items():
            shapes[f"{part}/{key}"] = shape
    return shapes


def _distance(found: _Shapes, expected: _Shapes) -> tuple[int, float]:
    """How far shapes are from a preset's: by those that are equal, then by the size of all."""
    equal = 0
    for key, shape in found.items():
        equal += expected.get(key) == shape
    return -equal, abs(math.log(max(_size(found), 1) / _size(expected)))


def _size(shapes: _Shapes) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def _first_difference(found: _Shapes, expected: _Shapes) -> str:
    """The first key whose shape is another, as `key (found for expected)`."""
    # In the table's order, then what the table does not have.
    for key in [*expected, *found]:
        if found.get(key) != expected.get(key):
            name = key.partition("/")[2]
            return f"{name} ({_show(found.get(key))} for {_show(expected.get(key))})"
    raise ValueError("nothing differs")


def _show(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))
