"""The one place for sharding rules: which axis of a parameter or an activation lies along which axis of the mesh.

Mesh axes: `data` (batch), `fsdp` (batch, and parameters in slices), `sequence` (tokens of a frame), `tensor` (widths).
A rule is a pattern over a parameter's path and a mesh axis for each of its dimensions, stacked layers first. Every
parameter must match exactly one rule; a dimension that its mesh axis does not divide stays whole. An optimiser's state
has its parameters' shapes and names, so it follows them; activations are constrained by their dimensions' letters.
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
Rules = Sequence[tuple[str, tuple[str | None, ...]]]

# Letters of the dimension legend (core/typing) → mesh axes. m: the hidden width of an MLP. _: never split (layers).
# y: rows of a picture, and of what the autoencoder makes of it; neighbours exchange the rows at their edges.
ACTIVATIONS: dict[str, str | tuple[str, ...] | None] = {
    "b": ("data", "fsdp"),
    "t": "sequence",
    "n": "tensor",
    "m": "tensor",
    "y": ("sequence", "tensor"),
} | dict.fromkeys("fhwslkdcpx_")

# A kernel, or the two parts of one in 8 bits (nn/quantize): both lie like the kernel, but for the scale's axis of 1.
_KERNEL = "kernel(/qvalue|/scale)?"

# A matrix that widens (or makes q, k, v) splits its output over `tensor`, the one that follows splits its input.
RULES: dict[str, Rules] = {
    "dit": (
        (rf"blocks/(self|cross)_attn/[qkv]/{_KERNEL}", (None, "fsdp", "tensor")),
        (r"blocks/(self|cross)_attn/[qkv]/bias", (None, "tensor")),
        (r"blocks/(self|cross)_attn/norm_[qk]/scale", (None, "tensor")),
        (rf"blocks/(self|cross)_attn/o/{_KERNEL}", (None, "tensor", "fsdp")),
        (rf"blocks/ffn_in/{_KERNEL}", (None, "fsdp", "tensor")),
        (r"blocks/ffn_in/bias", (None, "tensor")),
        (rf"blocks/ffn_out/{_KERNEL}", (None, "tensor", "fsdp")),
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
    # Low-rank adapters of the blocks' Linears: A [layers, in, rank], B [layers, rank, out], as the kernels they add to.
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
        return {axis: getattr(self, axis) for axis in AXES}


def make_mesh(
    shape: Mapping[str, int] | None = None, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh with all four axes; axes that `shape` leaves out have length 1. Default: all devices along fsdp."""
    devices = jax.devices() if devices is None else devices
    shape = {"fsdp": len(devices)} if shape is None else shape
    if unknown := set(shape) - set(AXES):
        raise InputError(
            f"mesh axes {sorted(unknown)} are not known; the axes are {', '.join(AXES)}"
        )
    lengths = [shape.get(axis, 1) for axis in AXES]
    if lengths.count(-1) == 1:  # the axis that takes what the others leave
        others = -int(np.prod(lengths))
        lengths[lengths.index(-1)] = len(devices) // others if others > 0 else 0
    if np.prod(lengths) != len(devices) or min(lengths) < 1:
        raise InputError(
            f"mesh {dict(zip(AXES, lengths, strict=True))} does not cover {len(devices)} devices"
        )
    return Mesh(np.reshape(devices, lengths), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def part_mesh(shape: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over as many devices as its axes multiply to, the first ones; with an axis of -1 over all."""
    devices = jax.devices() if devices is None else devices
    wanted = math.prod(shape.values())
    if wanted > len(devices):
        axes = ", ".join(f"{axis}={n}" for axis, n in shape.items() if n != 1)
        raise InputError(f"a mesh of {axes} needs {wanted} devices, there are {len(devices)}")
    return make_mesh(shape, devices if wanted < 0 else devices[:wanted])


def param_shardings(mesh: Mesh, part: str, abstract: Any) -> Any:
    """A NamedSharding for every parameter of a part ("dit", "vae", "text"), in the tree's shape."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(mesh, RULES[part], _name(path), leaf.shape)),
        abstract,
    )


def constrain(x: jax.Array, dims: str) -> jax.Array:
    """Lays an activation out by its dimensions' letters, e.g. "b f t d". Without a mesh (jax.set_mesh) it is x."""
    mesh = jax.sharding.get_abstract_mesh()
    return (
        x
        if mesh.empty
        else jax.lax.with_sharding_constraint(x, activation_spec(mesh, dims, x.shape))
    )


def on_own_part(f: Callable[..., jax.Array], *arrays: jax.Array, dims: Sequence[str]) -> jax.Array:
    """f(*arrays) where every device sees its own part of them only, so nothing is sent; the result lies like the first.

    For what works story by story: XLA cannot tell, and would send all stories to all devices. Without a mesh f itself.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return f(*arrays)
    specs = tuple(activation_spec(mesh, d, a.shape) for d, a in zip(dims, arrays, strict=True))
    return jax.shard_map(f, in_specs=specs, out_specs=specs[0], check_vma=False)(*arrays)


def activation_spec(mesh: Mesh | AbstractMesh, dims: str, shape: Sequence[int]) -> PartitionSpec:
    """The spec of an array with these dimensions; a letter that is not in the legend is our own mistake."""
    letters = dims.split()
    if len(letters) != len(shape) or set(letters) - set(ACTIVATIONS):
        raise ValueError(
            f"dimensions {dims!r} do not describe shape {tuple(shape)}; letters: {''.join(ACTIVATIONS)}"
        )
    return PartitionSpec(
        *(_fitting(mesh, ACTIVATIONS[letter], n) for letter, n in zip(letters, shape, strict=True))
    )


def with_shardings(shapes: Any, shardings: Any) -> Any:
    """ShapeDtypeStructs that know where they lie."""
    place = lambda s, sharding: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding)  # noqa: E731
    return jax.tree.map(place, shapes, shardings)


def batch_sharding(mesh: Mesh, rank: int) -> NamedSharding:
    """Rows over data and fsdp, the rest whole: for every array of a batch."""
    return NamedSharding(mesh, PartitionSpec(ACTIVATIONS["b"], *(None,) * (rank - 1)))


def batch_ways(mesh: Mesh) -> int:
    """Into how many parts a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def _fitting(
    mesh: Mesh | AbstractMesh, axes: str | tuple[str, ...] | None, size: int
) -> str | tuple[str, ...] | None:
    """The axes, if together they divide the dimension."""
    names = (axes,) if isinstance(axes, str) else axes or ()
    return axes if names and size % math.prod(mesh.shape[name] for name in names) == 0 else None


def _name(path: Sequence[Any]) -> str:
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def _spec(mesh: Mesh, rules: Rules, name: str, shape: tuple[int, ...]) -> PartitionSpec:
    axes = match_rule(rules, name)
    if axes and len(axes) != len(shape):
        raise ValueError(
            f"the sharding rule of {name} is for {len(axes)} dimensions, it has {len(shape)}"
        )
    return PartitionSpec(
        *(_fitting(mesh, a, n) for a, n in zip(axes, shape[: len(axes)], strict=True))
    )


def match_rule(rules: Rules, name: str) -> tuple[str | None, ...]:
    """The axes of the one rule that matches; none or several are our own mistake."""
    found = [axes for pattern, axes in rules if re.fullmatch(pattern, name)]
    if len(found) != 1:
        raise ValueError(f"parameter {name} matches {len(found)} sharding rules, it must match one")
    return found[0]
