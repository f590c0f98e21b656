"""All sharding rules: which axis of a parameter or an activation lies along which axis of the mesh.

Mesh axes: `data` (batch), `fsdp` (batch, and parameters in slices), `sequence` (tokens of a frame),
`tensor` (widths). A rule is a pattern over a parameter's path and a mesh axis for each of its
dimensions, stacked layers first. Every parameter must match exactly one rule; a dimension that its
mesh axis does not divide stays whole. An optimiser's state has its parameters' shapes and names, so
it follows them; activations are constrained by their dimensions' letters.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from shotstream_jax.core.errors import InputError

AXES = ("data", "fsdp", "sequence", "tensor")
# Patterns over a parameter's path, and the mesh axis of each of its dimensions (None: not split).
Rules = Sequence[tuple[str, tuple[str | None, ...]]]
MeshAxes = str | tuple[str, ...] | None

# Letters of the dimension legend (core/typing) → mesh axes. m: the hidden width of an MLP.
# y: rows of a picture, and of what the autoencoder makes of it; neighbours exchange the rows at
# their edges. The others are not split; _ is for dimensions without a letter, like layers.
ACTIVATIONS: dict[str, MeshAxes] = {
    "b": ("data", "fsdp"),
    "t": "sequence",
    "n": "tensor",
    "m": "tensor",
    "y": ("sequence", "tensor"),
    **dict.fromkeys("fhwslkdcpx_"),
}

# A kernel of the blocks, [layers, in, out]; and the parts of one in 8 bits (nn/quantize), whose
# numbers and scales are [layers, out, in], with axes of 1 in the scales.
_KERNEL = "kernel"
_ROUNDED = "kernel/(qvalue|scale)"

# A matrix that widens (or makes q, k, v) splits its output over `tensor`, the one that follows
# splits its input.
RULES: dict[str, Rules] = {
    "dit": (
        (rf"blocks/(self|cross)_attn/[qkv]/{_KERNEL}", (None, "fsdp", "tensor")),
        (rf"blocks/(self|cross)_attn/[qkv]/{_ROUNDED}", (None, "tensor", "fsdp")),
        (r"blocks/(self|cross)_attn/[qkv]/bias", (None, "tensor")),
        (r"blocks/(self|cross)_attn/norm_[qk]/scale", (None, "tensor")),
        (rf"blocks/(self|cross)_attn/o/{_KERNEL}", (None, "tensor", "fsdp")),
        (rf"blocks/(self|cross)_attn/o/{_ROUNDED}", (None, "fsdp", "tensor")),
        (rf"blocks/ffn_in/{_KERNEL}", (None, "fsdp", "tensor")),
        (rf"blocks/ffn_in/{_ROUNDED}", (None, "tensor", "fsdp")),
        (r"blocks/ffn_in/bias", (None, "tensor")),
        (rf"blocks/ffn_out/{_KERNEL}", (None, "tensor", "fsdp")),
        (rf"blocks/ffn_out/{_ROUNDED}", (None, "fsdp", "tensor")),
        (r"blocks/.*/kernel/input_scale", (None, None, None)),
        (r"blocks/((self|cross)_attn/o|ffn_out|norm_cross)/(bias|scale)", (None, None)),
        (r"blocks/table", (None, None, None)),
        (r"(text_in|time_in|time_projection)/kernel", ("fsdp", "tensor")),
        (r"(text_in|time_in|time_projection)/bias", ("tensor",)),
        (r"(text_out|time_out|patch_embedding)/kernel", ("tensor", "fsdp")),
        (r"head/kernel", ("fsdp", None)),
        (r"(text_out|time_out|patch_embedding|head)/bias", (None,)),
        (r"head_table", (None, None)),
    ),
    "text": (
        (r"embedding", ("fsdp", "tensor")),
        (r"blocks/([qkv]|gate|fc1)/kernel", (None, "fsdp", "tensor")),
        (r"blocks/(o|fc2)/kernel", (None, "tensor", "fsdp")),
        (r"blocks/positions", (None, None, "tensor")),
        (r"blocks/norm_(attn|ffn)/scale", (None, None)),
        (r"norm_out/scale", (None,)),
    ),
    # 127 million parameters: every device has them all. Its pictures are split.
    "vae": ((r".*", ()),),
    "decoder": ((r".*", ()),),
    # A small head, in training only (dit/truth).
    "truth": ((r".*", ()),),
    # Low-rank adapters of the blocks' Linears, A [layers, in, rank] and B [layers, rank, out]: as
    # the kernels that they add to.
    "lora": (
        (r"blocks/((self|cross)_attn/[qkv]|ffn_in)/a", (None, "fsdp", None)),
        (r"blocks/((self|cross)_attn/[qkv]|ffn_in)/b", (None, None, "tensor")),
        (r"blocks/((self|cross)_attn/o|ffn_out)/a", (None, "tensor", None)),
        (r"blocks/((self|cross)_attn/o|ffn_out)/b", (None, None, "fsdp")),
    ),
}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Lengths of the mesh's axes; one may be -1 and takes the devices that the others leave."""

    data: int = 1
    fsdp: int = 1
    sequence: int = 1
    tensor: int = 1

    def lengths(self) -> dict[str, int]:
        """The length of each axis, by its name."""
        return {axis: getattr(self, axis) for axis in AXES}


def make_mesh(
    shape: Mapping[str, int] | None = None, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh with all four axes over all of the devices.

    shape: lengths of axes; those that it leaves out have length 1, and one may be -1 and takes the
    devices that the others leave. Default: all devices along fsdp.
    Raises InputError if an axis is not known or if the axes do not cover the devices.
    """
    devices = jax.devices() if devices is None else devices
    if shape is None:
        shape = {"fsdp": len(devices)}
    unknown = set(shape) - set(AXES)
    if unknown:
        raise InputError(
            f"mesh axes {sorted(unknown)} are not known; the axes are {', '.join(AXES)}"
        )
    lengths = [shape.get(axis, 1) for axis in AXES]
    if lengths.count(-1) == 1:
        # The product has the -1 as its sign.
        others = -math.prod(lengths)
        rest = len(devices) // others if others > 0 else 0
        lengths[lengths.index(-1)] = rest
    if math.prod(lengths) != len(devices) or min(lengths) < 1:
        named = dict(zip(AXES, lengths, strict=True))
        raise InputError(f"mesh {named} does not cover {len(devices)} devices")
    axis_types = (AxisType.Auto,) * len(AXES)
    return Mesh(np.reshape(devices, lengths), AXES, axis_types=axis_types)


def part_mesh(shape: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over the first devices, as many as its axes multiply to; with an axis of -1 over all.

    Raises InputError if there are too few devices, and as make_mesh.
    """
    devices = jax.devices() if devices is None else devices
    wanted = math.prod(shape.values())
    if wanted > len(devices):
        split = [f"{axis}={length}" for axis, length in shape.items() if length != 1]
        axes = ", ".join(split)
        raise InputError(f"a mesh of {axes} needs {wanted} devices, there are {len(devices)}")
    # Negative: an axis of -1 takes all that there are.
    if wanted >= 0:
        devices = devices[:wanted]
    return make_mesh(shape, devices)


def param_shardings(mesh: Mesh, part: str, abstract: Any) -> Any:
    """A NamedSharding for every parameter of a part ("dit", "vae", "text"), in the tree's shape."""

    def sharding(path: Sequence[Any], leaf: Any) -> NamedSharding:
        """Where one parameter lies."""
        return NamedSharding(mesh, _spec(mesh, RULES[part], _name(path), leaf.shape))

    return jax.tree_util.tree_map_with_path(sharding, abstract)


def constrain(x: jax.Array, dims: str) -> jax.Array:
    """x, laid out by its dimensions' letters, e.g. "b f t d"; just x without a jax.set_mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, activation_spec(mesh, dims, x.shape))


def on_own_part(f: Callable[..., jax.Array], *arrays: jax.Array, dims: Sequence[str]) -> jax.Array:
    """f(*arrays) where every device sees only its own part of them, so nothing is sent.

    dims: the arrays' dimensions, as for `constrain`; the result lies like the first. This is for
    functions that treat each story by itself: XLA does not know that they do, and would send all
    stories to all devices. Without a mesh it is f(*arrays).
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return f(*arrays)
    # Every device's part of each array, as the mesh splits it.
    specs = []
    for letters, array in zip(dims, arrays, strict=True):
        specs.append(activation_spec(mesh, letters, array.shape))
    on_parts = jax.shard_map(f, in_specs=tuple(specs), out_specs=specs[0], check_vma=False)
    return on_parts(*arrays)


def activation_spec(mesh: Mesh | AbstractMesh, dims: str, shape: Sequence[int]) -> PartitionSpec:
    """The spec of an array with these dimensions.

    Raises ValueError (a bug, not a caller's mistake) if they do not describe the shape.
    """
    letters = dims.split()
    if len(letters) != len(shape) or set(letters) - set(ACTIVATIONS):
        known = "".join(ACTIVATIONS)
        raise ValueError(
            f"dimensions {dims!r} do not describe shape {tuple(shape)}; letters: {known}"
        )
    # What each letter may be split over; a size that does not divide is left whole.
    axes = [ACTIVATIONS[letter] for letter in letters]
    return _fitting_spec(mesh, axes, shape)


def with_shardings(shapes: Any, shardings: Any) -> Any:
    """A tree of ShapeDtypeStructs with the shardings of another tree."""

    def place(shape: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        """One shape with its sharding."""
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    return jax.tree.map(place, shapes, shardings)


def batch_sharding(mesh: Mesh, rank: int) -> NamedSharding:
    """The sharding of a batch's array: its first dimension over data and fsdp, no other split."""
    others = (None,) * (rank - 1)
    return NamedSharding(mesh, PartitionSpec(ACTIVATIONS["b"], *others))


def batch_ways(mesh: Mesh) -> int:
    """Into how many parts a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def _fitting_spec(
    mesh: Mesh | AbstractMesh, axes: Sequence[MeshAxes], shape: Sequence[int]
) -> PartitionSpec:
    """The spec with these axes; dimensions that their axes do not divide are not split."""
    fitting = []
    for names, size in zip(axes, shape, strict=True):
        fitting.append(_fitting(mesh, names, size))
    return PartitionSpec(*fitting)


def _fitting(mesh: Mesh | AbstractMesh, axes: MeshAxes, size: int) -> MeshAxes:
    """The axes, if together they divide a dimension of this size."""
    if axes is None:
        return None
    names = (axes,) if isinstance(axes, str) else axes
    ways = math.prod(mesh.shape[name] for name in names)
    return axes if size % ways == 0 else None


def _name(path: Sequence[Any]) -> str:
    """A parameter's path as the rules' patterns have it, like "blocks/ffn_in/kernel"."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def _spec(mesh: Mesh, rules: Rules, name: str, shape: tuple[int, ...]) -> PartitionSpec:
    """Where a parameter lies. A rule without axes stands for parameters that are not split."""
    # A wrong rule is a bug: it would split the wrong dimension.
    axes = match_rule(rules, name)
    if axes and len(axes) != len(shape):
        raise ValueError(
            f"the sharding rule of {name} is for {len(axes)} dimensions, it has {len(shape)}"
        )
    return _fitting_spec(mesh, axes, shape[: len(axes)])


def match_rule(rules: Rules, name: str) -> tuple[str | None, ...]:
    """The axes of the one rule that matches a parameter's path.

    Raises ValueError (a bug, not a caller's mistake) if none or several do.
    """
    found = [axes for pattern, axes in rules if re.fullmatch(pattern, name)]
    if len(found) != 1:
        raise ValueError(f"parameter {name} matches {len(found)} sharding rules, it must match one")
    return found[0]


def to_device_of(params: Any, x: Any) -> Any:
    """Arrays where these parameters are: the autoencoder may have a device of its own.

    On a mesh every device gets the whole array. Nothing is sent if the arrays are there already.
    """
    # All parameters of a part lie on the same devices, so any of them tells.
    sharding = jax.tree.leaves(params)[0].sharding
    if isinstance(sharding, NamedSharding):
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    return jax.device_put(x, sharding)
