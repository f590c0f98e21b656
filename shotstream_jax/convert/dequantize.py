"""Weights that a file keeps in 8 bits, as the numbers that they stand for:

    W = float32(n) · s                                                                           (1)

n are float8 or int8, and s is one number, one for each output, or one for each block of inputs.
The forms that are read, by the names beside a layer's `weight`:

    scale_weight             ComfyUI's first form, Kijai's, musubi-tuner's; marked by `scaled_fp8`
    weight_scale             ComfyUI's second form (`comfy_quant` or the header names it), LightX2V
    weight._data, ._scale    Quanto

Names may have any prefix. Nothing is read here but the short texts that name a form; each weight is
read and multiplied when it is used.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from shotstream_jax.convert.names import Lazy, State
from shotstream_jax.convert.quantized_layers import (
    declared_formats,
    is_declaration,
    refuse_unread_forms,
)
from shotstream_jax.core.errors import InputError

_FLOAT8 = (np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2))
_INT8 = np.dtype(np.int8)
_SCALES = tuple(np.dtype(t) for t in (np.float32, np.float16, np.float64, ml_dtypes.bfloat16))

_MARKER = "scaled_fp8"  # says that a file's float8 weights have scales
# A scale's ending → its numbers' ending, and the ending of the weight that both make.
_PAIRS = {
    ".scale_weight": (".weight", ".weight"),
    ".weight_scale": (".weight", ".weight"),
    ".weight._scale": (".weight._data", ".weight"),
}
# Of activations: weights do without them.
_ACTIVATION_SCALES = (".scale_input", ".input_scale", ".output_scale")


class Dequantized(NamedTuple):
    """A state dict of plain floats, and in sentences what was done to have it."""

    state: State
    notes: list[str]


class _Pair(NamedTuple):
    """Numbers and scale by their names in the file, and the weight's name."""

    numbers: str
    scale: str
    weight: str


def dequantize(state: State, metadata: Mapping[str, str]) -> Dequantized:
    """The weights of a file by eq. (1), not read yet; what is no weight in 8 bits stays as it is.

    metadata: the texts of the file's header ({} without). Scaled weights are float32; float8 that
    never had scales is bfloat16, which holds it exactly. Raises InputError for a form that is not
    read, by its name, and if a scale or a weight is missing or does not fit.
    """
    # 1. Which weights have a scale. Nothing is guessed: a form, a scale or a weight that is missing
    # ends it here.
    refuse_unread_forms(state)
    pairs = _find_pairs(state)
    _check_formats(state, pairs, metadata)
    _check_complete(state, pairs)
    # 2. Each array as it is, or as it will be when it is read; scales are used up.
    left_out = _left_out(state, pairs)
    plain = {}
    kinds: Counter[tuple[str, bool]] = Counter()  # (type, whether scaled) → weights
    for name, array in state.items():
        if name in left_out:
            continue
        dtype = np.dtype(array.dtype)
        if name in pairs:
            plain[pairs[name].weight] = _scaled(array, state[pairs[name].scale])
            kinds[dtype.name, True] += 1
        elif dtype in _FLOAT8:
            plain[name] = _widened(array)
            kinds[dtype.name, False] += 1
        else:
            plain[name] = array
    return Dequantized(plain, _notes(kinds))


def _find_pairs(state: State) -> dict[str, _Pair]:
    """All weights with a scale, by the names of their numbers."""
    pairs: dict[str, _Pair] = {}
    for name in state:
        for ending, (numbers_ending, weight_ending) in _PAIRS.items():
            if not name.endswith(ending):
                continue
            layer = name.removesuffix(ending)
            pair = _Pair(layer + numbers_ending, name, layer + weight_ending)
            # What is no scale of any weight here keeps its name, and the tables refuse it.
            if pair.numbers not in state:
                continue
            if pair.numbers in pairs:
                raise InputError(
                    f"{pair.numbers} has two scales, {pairs[pair.numbers].scale} and {name}"
                )
            pairs[pair.numbers] = pair
    for pair in pairs.values():
        _check_pair(state, pair)
    return pairs


def _check_pair(state: State, pair: _Pair) -> None:
    """Refuses types and shapes that are not those of eq. (1)."""
    numbers = state[pair.numbers]
    scale = state[pair.scale]
    if pair.weight != pair.numbers and pair.weight in state:
        raise InputError(f"{pair.weight} is there twice, as it is and as {pair.numbers}")
    is_float = np.dtype(numbers.dtype) in _SCALES
    if np.dtype(numbers.dtype) not in (*_FLOAT8, _INT8) and not is_float:
        raise InputError(
            f"{pair.numbers} is {numbers.dtype} with the scale {pair.scale}: "
            "read are scaled float8 and int8; take the file with more bits"
        )
    if np.dtype(scale.dtype) not in _SCALES:
        raise InputError(
            f"{pair.scale} is {scale.dtype}, as in mxfp8 and nvfp4, which are not read: "
            "take the file with more bits"
        )
    if _blocks(tuple(numbers.shape), tuple(scale.shape)) is None:
        raise InputError(
            f"{pair.scale} {list(scale.shape)} does not fit {pair.numbers} {list(numbers.shape)}: "
            "read are scales for a whole weight [] or [1], an output [out, 1] "
            "and a block of inputs [out, blocks, 1]"
        )


def _blocks(shape: tuple[int, ...], scale: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape in which a scale multiplies numbers of another shape; None if it does not fit.

    [1], [out, 1] or [out, blocks, 1], for numbers as [values], [out, inputs] or
    [out, blocks, inputs of a block].
    """
    count = math.prod(scale)
    if count == 1:
        return (1,)
    if not shape or not scale or scale[0] != shape[0]:
        return None
    # A number for each output, with any further axes of length 1.
    if count == shape[0]:
        return (count, 1)
    is_blockwise = len(scale) == 3 and scale[2] == 1 and scale[1] > 0
    if is_blockwise and math.prod(shape[1:]) % scale[1] == 0:
        return scale
    return None


def _scaled(numbers: Any, scale: Any) -> Lazy:
    """Eq. (1), not read yet."""
    shape = tuple(numbers.shape)
    scale_shape = _blocks(shape, tuple(scale.shape))
    assert scale_shape is not None  # checked with the pair

    def read() -> np.ndarray:
        """The numbers in float32, each block times its scale."""
        wide = np.asarray(numbers).astype(np.float32)
        # [values], [out, inputs] or [out, blocks, inputs of a block]
        blocks = wide.reshape(*scale_shape[:-1], -1)
        blocks *= np.asarray(scale).astype(np.float32).reshape(scale_shape)
        return blocks.reshape(shape)

    return Lazy(shape, np.dtype(np.float32), read)


def _widened(array: Any) -> Lazy:
    """Float8 that has no scale, in a type that holds it exactly; not read yet."""
    dtype = np.dtype(ml_dtypes.bfloat16)

    def read() -> np.ndarray:
        """The same values."""
        return np.asarray(array).astype(dtype)

    return Lazy(tuple(array.shape), dtype, read)


def _check_formats(state: State, pairs: Mapping[str, _Pair], metadata: Mapping[str, str]) -> None:
    """Every layer that the file says is quantised must be what it says."""
    for layer, type_name in declared_formats(state, metadata).items():
        weight = f"{layer}.weight"
        if weight not in state:
            continue
        found = state[weight].dtype
        if np.dtype(found).name != type_name:
            raise InputError(f"{weight} is {found}, the file says that it is {type_name}")
        if weight not in pairs:
            raise InputError(f"{weight} is {type_name}, and its {layer}.weight_scale is missing")


def _check_complete(state: State, pairs: Mapping[str, _Pair]) -> None:
    """Refuses weights in 8 bits whose scale should be there and is not.

    Float8 without any scales may be a plain cast, but not in a file that is marked as scaled, nor
    beside weights that have scales. int8 always has them.
    """
    markers = [name.removesuffix(_MARKER) for name in state if _is_marker(name)]
    for prefix in markers:
        if not any(name.startswith(prefix) for name in pairs):
            raise InputError(
                f"{prefix}{_MARKER} says that the weights have scales, and none is there: "
                "they were lost on the way; take the original file"
            )
    missing = []
    for name, array in state.items():
        if name in pairs or _is_marker(name):
            continue
        has_neighbours = any(name.startswith(prefix) for prefix in markers) or (
            not markers and bool(pairs)
        )
        is_bare_float8 = np.dtype(array.dtype) in _FLOAT8 and has_neighbours
        if is_bare_float8 or np.dtype(array.dtype) == _INT8:
            missing.append(name)
    if missing:
        raise InputError(
            f"the scale of {', '.join(missing[:5])} is missing ({len(missing)} in all): "
            "take the original file"
        )


def _left_out(state: State, pairs: Mapping[str, _Pair]) -> set[str]:
    """What belongs to weights in 8 bits and is not one: scales, markers, names of formats."""
    left_out = {pair.scale for pair in pairs.values()}
    for name in state:
        if _is_marker(name) or is_declaration(name):
            left_out.add(name)
        for ending in _ACTIVATION_SCALES:
            layer = name.removesuffix(ending)
            is_layers = f"{layer}.weight" in state or f"{layer}.weight._data" in state
            if name.endswith(ending) and is_layers:
                left_out.add(name)
    return left_out


def _is_marker(name: str) -> bool:
    return name.rpartition(".")[2] == _MARKER


def _notes(kinds: Mapping[tuple[str, bool], int]) -> list[str]:
    notes = []
    for (type_name, is_scaled), count in sorted(kinds.items()):
        if is_scaled:
            notes.append(f"{count} weights in {type_name} with scales: read as float32")
        else:
            notes.append(
                f"{count} weights in {type_name} without scales: "
                "what that cast has lost of their accuracy stays lost"
            )
    return notes
