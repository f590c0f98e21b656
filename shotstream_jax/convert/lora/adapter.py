"""An adapter for a model: what it changes, by the plain names of the model's parameters.

Names come in many forms (convert/lora/keys, targets), scales from many places (scales); the outcome
is one list of changes (changes), checked against the model's shapes. No factors are read until they
are used.
"""

import dataclasses
import pathlib
from collections import defaultdict
from collections.abc import Mapping

from absl import logging

from shotstream_jax.convert.lora.changes import (
    AdapterChange,
    Difference,
    LowRank,
    NewValues,
    added_arrays,
    check_fits,
)
from shotstream_jax.convert.lora.file import AdapterFile, open_adapter, read_alpha
from shotstream_jax.convert.lora.keys import KeyRole, parse_key
from shotstream_jax.convert.lora.targets import Targets
from shotstream_jax.convert.names import Lazy
from shotstream_jax.core.errors import InputError

# One layer's tensors: what each is → (its name in the file, the tensor).
_Layer = dict[KeyRole, tuple[str, Lazy]]

_DIFFERENCES: tuple[tuple[KeyRole, str], ...] = (
    ("diff", "weight"),
    ("diff_bias", "bias"),
    ("diff_modulation", "modulation"),
)
_WIDTH_14B = 5120
_MOST_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What an adapter changes.

    changes: a parameter's plain name → what is done to it, in order. unused: names in its file
    that mean nothing here, with the reason. alpha_from: where its alpha is from, in words.
    """

    path: pathlib.Path
    changes: Mapping[str, tuple[AdapterChange, ...]]
    unused: tuple[str, ...]
    alpha_from: str

    @property
    def ranks(self) -> list[int]:
        """The ranks that occur, in order."""
        ranks = set()
        for changes in self.changes.values():
            ranks |= {change.rank for change in changes if isinstance(change, LowRank)}
        return sorted(ranks)


def read_adapter(
    path: str | pathlib.Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    key: str | None = None,
    alpha: float | None = None,
    rank: int | None = None,
    ignore_unused: bool = False,
) -> Adapter:
    """An adapter's file or folder, for a model whose parameters have these plain names and shapes.

    key: its name in a training file. alpha: in place of what the file says. rank: refuses another
    one. ignore_unused: names that mean nothing here are logged, otherwise they are an error.
    Raises InputError if the adapter does not fit the model as a whole.
    """
    file = open_adapter(path, key)
    targets = Targets(shapes)
    layers, changes, unused = _sorted_by_layer(file, targets)
    for layer, tensors in layers.items():
        for name, change in _layer_changes(file, layer, tensors, alpha):
            changes[name].append(change)
    _check_unused(file.path, unused, changes, ignore_unused)
    _check_changes(file.path, changes, shapes, rank)
    ordered = {name: tuple(found) for name, found in changes.items()}
    return Adapter(file.path, ordered, tuple(unused), _alpha_source(file, layers, alpha))


def _sorted_by_layer(
    file: AdapterFile, targets: Targets
) -> tuple[dict[str, _Layer], defaultdict[str, list[AdapterChange]], list[str]]:
    """Tensors by the layer's plain name; changes of whole parameters; names without a meaning."""
    layers: defaultdict[str, _Layer] = defaultdict(dict)
    changes: defaultdict[str, list[AdapterChange]] = defaultdict(list)
    unused = []
    for name, tensor in file.state.items():
        key = parse_key(name)
        if key.role == "whole":
            # PEFT saves whole modules and biases beside the factors.
            parameter = targets.find_parameter(key.layer)
            is_peft = file.rules.is_peft or name.startswith("base_model.model.")
            if parameter is None or not is_peft:
                unused.append(_unused(name, targets))
                continue
            _refuse_twice(parameter in changes, name, parameter)
            changes[parameter].append(NewValues(tensor))
            continue
        layer = targets.find(key.layer)
        if layer is None:
            unused.append(_unused(name, targets))
            continue
        _refuse_twice(key.role in layers[layer], name, layer)
        layers[layer][key.role] = (name, tensor)
    return layers, changes, unused


def _refuse_twice(is_there: bool, name: str, target: str) -> None:
    if is_there:
        raise InputError(f"the adapter has {target} twice: {name} is the second")


def _unused(name: str, targets: Targets) -> str:
    """A name that means nothing here, with the reason where it is known."""
    reason = targets.why_not(name)
    return f"{name} ({reason})" if reason else name


def _layer_changes(
    file: AdapterFile, layer: str, tensors: _Layer, alpha: float | None
) -> list[tuple[str, AdapterChange]]:
    """What is done to one layer's parameters."""
    # Whole differences first, so that DoRA's directions have them.
    changes = _differences(layer, tensors)
    for role in ("down", "up"):
        other: KeyRole = "up" if role == "down" else "down"
        if role in tensors and other not in tensors:
            raise InputError(f"the adapter has {tensors[role][0]} without its other factor")
    if "down" in tensors:
        return changes + _low_rank(file, layer, tensors, alpha)

    # An alpha beside a whole difference is of no use, and programs write it.
    lonely = {"up_bias", "magnitude"} if changes else {"up_bias", "magnitude", "alpha"}
    for role, (name, _) in tensors.items():
        if role in lonely:
            raise InputError(f"the adapter has {name} without factors")
    return changes


def _differences(layer: str, tensors: _Layer) -> list[tuple[str, AdapterChange]]:
    """Whole differences of a layer's parameters."""
    changes: list[tuple[str, AdapterChange]] = []
    for role, parameter in _DIFFERENCES:
        if role in tensors:
            # A parameter that is no layer's weight or bias may be named itself.
            is_itself = role == "diff" and layer.endswith(".modulation")
            name = layer if is_itself else f"{layer}.{parameter}"
            changes.append((name, Difference(tensors[role][1])))
    return changes


def _low_rank(
    file: AdapterFile, layer: str, tensors: _Layer, alpha: float | None
) -> list[tuple[str, AdapterChange]]:
    """The product of a layer's factors, and the bias beside them."""
    name, down = tensors["down"]
    rank = down.shape[0] if down.shape else 0
    if rank < 1:
        raise InputError(f"the adapter has {name} {list(down.shape)}: it has no rank")
    if alpha is None and "alpha" in tensors:
        alpha = read_alpha(file.path, *tensors["alpha"])
    scale = file.rules.scale(parse_key(name).layer, rank, alpha)
    magnitude = tensors["magnitude"][1] if "magnitude" in tensors else None
    product = LowRank(down, tensors["up"][1], scale, magnitude)
    changes: list[tuple[str, AdapterChange]] = [(f"{layer}.weight", product)]
    if "up_bias" in tensors:
        changes.append((f"{layer}.bias", Difference(tensors["up_bias"][1], scale)))
    return changes


def _check_unused(
    path: pathlib.Path,
    unused: list[str],
    changes: Mapping[str, list[AdapterChange]],
    ignore_unused: bool,
) -> None:
    """Refuses, or lists, names that mean nothing."""
    if not unused and changes:
        return
    if not changes:
        names = _first_names(unused) or "it is empty"
        raise InputError(f"the adapter {path} does not fit the transformer: {names}")
    if not ignore_unused:
        raise InputError(
            f"the adapter {path} does not fit the transformer, {len(unused)} of its tensors would "
            f"not be used (--ignore-unused leaves them out): {_first_names(unused)}"
        )
    for name in unused:
        logging.warning("%s: not used: %s", path, name)


def _first_names(names: list[str]) -> str:
    text = ", ".join(sorted(names)[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        text += f", … ({len(names) - _MOST_NAMED} more)"
    return text


def _check_changes(
    path: pathlib.Path,
    changes: Mapping[str, list[AdapterChange]],
    shapes: Mapping[str, tuple[int, ...]],
    rank: int | None,
) -> None:
    """Every change must be of a parameter that is there, and fit it."""
    for name, found in changes.items():
        if name not in shapes:
            raise InputError(f"the adapter {path} changes {name}, which the transformer lacks")
        for change in found:
            try:
                check_fits(change, name, shapes[name])
            except InputError as error:
                raise InputError(f"{error}{_other_model(change, shapes[name])}") from None
            if rank is not None and isinstance(change, LowRank) and change.rank != rank:
                raise InputError(f"the adapter of {name} has rank {change.rank}, not rank {rank}")


def _other_model(change: AdapterChange, shape: tuple[int, ...]) -> str:
    """What another width speaks of."""
    widths = set()
    for array in added_arrays(change):
        widths |= set(array.shape)
    if _WIDTH_14B in widths - set(shape):
        return f": it is for a 14B model, which is {_WIDTH_14B} wide"
    return ""


def _alpha_source(file: AdapterFile, layers: Mapping[str, _Layer], alpha: float | None) -> str:
    """Where the alphas are from, in words."""
    if alpha is not None:
        return "alpha from --alpha"
    if any("alpha" in tensors for tensors in layers.values()):
        return "alpha from its tensors"
    if file.rules.alpha is not None:
        return f"alpha from {file.rules.source}"
    return "no alpha (a factor of 1)"
