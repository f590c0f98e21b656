"""How a file says which of its layers are quantised, and the forms that are not read.

ComfyUI's second form names the format of every layer: as JSON in an array of bytes beside the
weight, `LAYER.comfy_quant`, or for all layers in the header's `_quantization_metadata`.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from shotstream_jax.convert.names import State
from shotstream_jax.core.errors import InputError

_DECLARATION = ".comfy_quant"
_METADATA = "_quantization_metadata"
_LONGEST_DECLARATION = 2**16  # bytes

# A format's name → the type of its numbers, of those that are read.
_FORMATS = {
    "float8_e4m3fn": "float8_e4m3fn",
    "float8_e5m2": "float8_e5m2",
    "int8_tensorwise": "int8",
}
# What a layer's declaration may say beside its format without changing the weights.
_HARMLESS = ("format", "full_precision_matrix_mult")

# Part of a name → whose form it is, of those that are not read.
_UNREAD = {
    ".attn_op.local_attn.proj_l.": "TurboDiffusion, whose sparse-linear attention is another model",
    ".int8_weight": "TurboDiffusion's int8, whose attention is another model",
    ".weight_scale_2": "nvfp4 (4 bits)",
    ".weight_global_scale": "nvfp4 (4 bits)",
    ".weight_scale_inv": "float8 with scales for blocks of outputs and inputs",
    ".weight._shift": "Quanto with 4 bits or fewer",
    ".weight._zeropoint": "Quanto with 4 bits or fewer",
    ".weight.absmax": "bitsandbytes with 4 bits",
    ".weight.quant_state.": "bitsandbytes with 4 bits",
    ".SCB": "bitsandbytes' int8",
    ".qweight": "GPTQ, AWQ or SVDQuant (4 bits)",
}
_MORE_BITS = "take the file with bf16, fp16 or fp8 weights"


def refuse_unread_forms(state: State) -> None:
    """Raises InputError if the names are those of a form that is not read, naming it."""
    for name, array in state.items():
        for sign, form in _UNREAD.items():
            # A whole part of the name: at its end, or with more after it.
            if name.endswith(sign) or (sign.endswith(".") and sign in name):
                raise InputError(
                    f"the weights are {form}, which is not read ({name}): {_MORE_BITS}"
                )
        is_patches = name.rpartition("patch_embedding.")[2] == "weight"
        if is_patches and len(array.shape) == 2:
            raise InputError(
                f"{name} {list(array.shape)} has two axes, as TurboDiffusion's have, whose "
                f"sparse-linear attention is another model: not read; {_MORE_BITS}"
            )


def is_declaration(name: str) -> bool:
    """Whether a name is that of an array which names a layer's format."""
    return name.endswith(_DECLARATION)


def declared_formats(state: State, metadata: Mapping[str, str]) -> dict[str, str]:
    """Each layer that the file says is quantised, and the type that its weight must have.

    Raises InputError for formats that are not read, by their names.
    """
    layers = {}
    # The header's layers have the names of the file, or those without its prefix.
    for layer, said in _layers_of_header(metadata).items():
        for name in state:
            if name == f"{layer}.weight" or name.endswith(f".{layer}.weight"):
                layers[name.removesuffix(".weight")] = said
    for name, array in state.items():
        if is_declaration(name):
            layers[name.removesuffix(_DECLARATION)] = _read_declaration(name, array)
    types = {}
    for layer, said in layers.items():
        types[layer] = _type_of(layer, said)
    return types


def _type_of(layer: str, said: Any) -> str:
    """The type of a layer's numbers."""
    if not isinstance(said, dict) or not isinstance(said.get("format"), str):
        raise InputError(f"the quantisation of {layer} has no format: {said!r:.80}")
    found = said["format"]
    if found not in _FORMATS:
        raise InputError(
            f"{layer} has the format {found}, which is not read: "
            f"read are {', '.join(_FORMATS)}; {_MORE_BITS}"
        )
    # Such as rotations, after which the numbers alone are not the weights.
    for key, value in said.items():
        if key not in _HARMLESS and value:
            raise InputError(
                f"{layer} has the format {found} with {key}={value!r:.40}, which is not read: "
                f"{_MORE_BITS}"
            )
    return _FORMATS[found]


def _read_declaration(name: str, array: Any) -> Any:
    """The JSON in an array of bytes."""
    is_bytes = np.dtype(array.dtype).itemsize == 1 and len(array.shape) == 1
    if not is_bytes or array.shape[0] > _LONGEST_DECLARATION:
        raise InputError(
            f"{name} is {array.dtype} {list(array.shape)}, expected some bytes of JSON"
        )
    try:
        return json.loads(np.asarray(array).tobytes())
    except (ValueError, RecursionError):
        raise InputError(f"{name} holds no JSON: the file is damaged, fetch it again") from None


def _layers_of_header(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Layer → what the header says of it; {} if it says nothing."""
    if _METADATA not in metadata:
        return {}
    content = _parse(metadata[_METADATA])
    # Some files have it within itself.
    if isinstance(content, dict) and _METADATA in content:
        content = content[_METADATA]
    if not isinstance(content, dict) or not isinstance(content.get("layers"), dict):
        raise InputError(f"the header's {_METADATA} names no layers: {content!r:.80}")
    return content["layers"]


def _parse(text: str) -> Any:
    """The header's JSON, also of files in which a template has left its braces doubled."""
    outer_doubled = text.strip()[1:-1]
    all_doubled = text.replace("{{", "{").replace("}}", "}")
    for candidate in (text, outer_doubled, all_doubled):
        try:
            content = json.loads(candidate)
            # A text in a text.
            if isinstance(content, str):
                content = json.loads(content)
            return content
        except (ValueError, RecursionError):
            continue
    raise InputError(f"the header's {_METADATA} is no JSON: {text!r:.80}")
