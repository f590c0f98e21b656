"""The kernels of a program that was compiled for a GPU: what they move and compute.

Every instruction of the entry, of a loop's body or of a branch is a kernel of its own, but for
those that only name memory. Its bytes are those that it reads and writes, its FLOPs those of its
matmuls, convolutions and attention. aot/prices makes seconds of them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shotstream_jax.aot.hlo import ArrayType, Computation, Instruction, Module, arrays_of

# attention, mosaic: by cuDNN, and by Mosaic. matmul8: operands of 8 bits. slice: a layer's part
# copied out of a stack. copy: memory that is moved or laid out otherwise, and nothing else. other:
# whatever computes on single elements.
KINDS = ("attention", "mosaic", "matmul", "matmul8", "convolution", "slice", "copy", "other")

# Instructions that are no kernels: they name memory, or start what others are.
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "opt-barrier",
    "partition-id",
    "replica-id",
    "while",
    "conditional",
    "call",
    "async-start",
}
# Of an instruction that runs beside others: its start is the kernel.
_ENDINGS = ("-update", "-done")
# Instructions that only move elements.
_MOVES = {
    "bitcast",
    "broadcast",
    "concatenate",
    "constant",
    "convert",
    "copy",
    "copy-start",
    "dynamic-slice",
    "dynamic-update-slice",
    "get-tuple-element",
    "pad",
    "parameter",
    "reshape",
    "slice",
    "transpose",
    "tuple",
}
# Instructions that read of their first operand no more than they return.
_SLICES = ("dynamic-slice", "slice", "gather")
_EIGHT_BITS = ("s8", "u8", "f8e4m3fn", "f8e5m2")

_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_CONTRACTED_BY_LIBRARY = re.compile(r'"lhs_contracting_dimensions":\[([\d",]*)\]')
_CONVOLUTION_AXES = re.compile(r"dim_labels=\w+_(\w+)->\w+")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')


class Kernel(NamedTuple):
    """One kernel of a program.

    kind: of KINDS. times: how often it runs. bytes, flops: of one run; those of attention as if all
    keys counted. has_length: whether it is attention that looks at a prefix of the keys only.
    """

    name: str
    kind: str
    times: int
    bytes: int
    flops: float
    has_length: bool = False


def read_kernels(module: Module) -> list[Kernel]:
    """All kernels of a program for a GPU."""
    kernels = []
    for name, times in module.kernel_runs().items():
        computation = module.computations[name]
        keys_of_attention = _read_by_attention(computation)
        for instruction in computation.instructions.values():
            if instruction.operation in _FREE or instruction.operation.endswith(_ENDINGS):
                continue
            kernel = _kernel(module, computation, instruction, times)
            # What is copied for attention has to be there when it starts, and takes its time.
            if kernel.kind == "slice" and instruction.name in keys_of_attention:
                kernel = kernel._replace(kind="copy")
            kernels.append(kernel)
    return kernels


def _kernel(
    module: Module, computation: Computation, instruction: Instruction, times: int
) -> Kernel:
    """An instruction of a computation as a kernel."""
    operation = instruction.operation
    if operation in ("fusion", "fusion-start"):
        return _fusion(module, computation, instruction, times)
    if operation == "custom-call":
        return _library_call(computation, instruction, times)
    # A plain instruction: a matmul that was not fused, or something that moves or computes.
    name = instruction.name
    inputs = _operand_arrays(computation, instruction)
    if operation == "dot":
        kind = _matmul_kind(inputs[0])
        flops = _matmul_flops(computation, instruction)
        return Kernel(name, kind, times, _all_bytes(inputs) + instruction.bytes, flops)
    # Parts are read or written, not the whole.
    if operation in _SLICES:
        return Kernel(name, "copy", times, 2 * instruction.bytes, 0)
    if operation == "dynamic-update-slice":
        return Kernel(name, "copy", times, 2 * inputs[1].bytes, 0)
    if operation == "copy-start":
        return Kernel(name, "copy", times, 2 * _all_bytes(inputs), 0)
    kind = "copy" if operation in _MOVES else "other"
    return Kernel(name, kind, times, _all_bytes(inputs) + instruction.bytes, 0)


def _fusion(
    module: Module, computation: Computation, instruction: Instruction, times: int
) -> Kernel:
    """A fusion: one kernel for all instructions of the computation inside."""
    inside = module.computations[instruction.calls[0]]
    operations = {inner.operation for inner in inside.instructions.values()}
    # What it moves does not depend on what it computes.
    moved = _read_bytes(inside) + _written_bytes(inside)
    dots = [inner for inner in inside.instructions.values() if inner.operation == "dot"]
    # A matmul with what is done to its operands and its result.
    if dots:
        flops = sum(_matmul_flops(inside, dot) for dot in dots)
        kind = _matmul_kind(_operand_arrays(inside, dots[0])[0])
        return Kernel(instruction.name, kind, times, moved, flops)
    calls = [inner for inner in inside.instructions.values() if inner.operation == "custom-call"]
    if calls:
        # A library's kernel that reads its operands where they lie in a stack.
        kernel = _library_call(inside, calls[0], times)
        return kernel._replace(name=instruction.name, bytes=moved)
    is_slice = inside.root.operation == "dynamic-slice" and instruction.operation == "fusion-start"
    if is_slice or '"name":"dynamic_slice_fusion"' in instruction.line:
        kind = "slice"
    elif operations <= _MOVES:
        kind = "copy"
    else:
        kind = "other"
    return Kernel(instruction.name, kind, times, moved, 0)


def _library_call(computation: Computation, instruction: Instruction, times: int) -> Kernel:
    """A call of cuDNN, cuBLAS or a kernel of another library."""
    target = _target(instruction)
    inputs = _operand_arrays(computation, instruction)
    outputs = instruction.arrays
    # The library's own working memory comes last in its result, as bytes without a meaning.
    if len(outputs) > 1 and outputs[-1].kind in ("u8", "s8"):
        outputs = outputs[:-1]
    moved = _all_bytes(inputs) + _all_bytes(outputs)
    name = instruction.name
    # By the library's own name for the call.
    if _is_attention(instruction):
        flops = _attention_flops(target, inputs)
        # Lengths are vectors of int32 beside the arrays.
        has_length = any(array.kind == "s32" for array in inputs)
        kind = "mosaic" if "mosaic_gpu" in target else "attention"
        return Kernel(name, kind, times, moved, flops, has_length)
    if "conv" in target and _CONVOLUTION_AXES.search(instruction.line):
        flops = _convolution_flops(instruction, inputs, outputs[0])
        return Kernel(name, "convolution", times, moved, flops)
    if "cublas" in target or "gemm" in target:
        kind = _matmul_kind(inputs[0])
        return Kernel(name, kind, times, moved, _matmul_flops(computation, instruction))
    return Kernel(name, "other", times, moved, 0)


def _is_attention(instruction: Instruction) -> bool:
    """Whether it is cuDNN's attention, or a Mosaic kernel: we have no other ones of these."""
    target = _target(instruction)
    return "fmha" in target or "mosaic_gpu" in target


def _target(instruction: Instruction) -> str:
    target = _TARGET.search(instruction.line)
    return target[1] if target else ""


def _read_by_attention(computation: Computation) -> set[str]:
    """Names of the instructions whose results attention reads, through bitcasts as well."""
    names: set[str] = set()
    for instruction in computation.instructions.values():
        if instruction.operation == "custom-call" and _is_attention(instruction):
            names.update(_sources(computation, instruction))
    return names


def _sources(computation: Computation, instruction: Instruction) -> Iterator[str]:
    """The names of an instruction's operands, each with what it is another name of."""
    for name in instruction.operands:
        yield name
        source = computation.instructions[name]
        while source.operation in ("bitcast", "get-tuple-element", "fusion-done"):
            yield source.operands[0]
            source = computation.instructions[source.operands[0]]


def _read_bytes(inside: Computation) -> int:
    """What a fusion reads: of each parameter all, or only the slices that are taken of it."""
    total = 0
    for parameter in inside.instructions.values():
        if parameter.operation == "parameter":
            total += min(parameter.bytes, _bytes_taken(inside, parameter))
    return total


def _bytes_taken(inside: Computation, source: Instruction) -> int:
    """What the users of a value in a fusion read of it."""
    total = 0
    for user in inside.instructions.values():
        if source.name not in user.operands:
            continue
        is_first = user.operands[0] == source.name
        if user.operation in _SLICES and is_first:
            total += user.bytes
        elif user.operation == "dynamic-update-slice" and is_first:
            # It is written in place: the rest of it is not touched.
            total += 0
        elif user.operation == "bitcast":
            total += _bytes_taken(inside, user)
        else:
            total += source.bytes
    return total


def _written_bytes(inside: Computation) -> int:
    """What a fusion writes: of a buffer that is updated in place the update."""
    return sum(_bytes_put(inside, result) for result in _results(inside, inside.root))


def _results(inside: Computation, root: Instruction) -> Iterator[Instruction]:
    """The instructions whose results leave the fusion."""
    if root.operation == "tuple":
        for name in root.operands:
            yield inside.instructions[name]
    else:
        yield root


def _bytes_put(inside: Computation, result: Instruction) -> int:
    # What is only another name of the updated buffer is the update itself.
    source = result
    while source.operation == "bitcast":
        source = inside.instructions[source.operands[0]]
    if source.operation == "dynamic-update-slice":
        return inside.instructions[source.operands[1]].bytes
    return result.bytes


def _operand_arrays(computation: Computation, instruction: Instruction) -> list[ArrayType]:
    """The arrays that an instruction reads."""
    arrays = []
    for name in instruction.operands:
        arrays.extend(arrays_of(computation.instructions[name].type))
    return arrays


def _all_bytes(arrays: Iterable[ArrayType]) -> int:
    return sum(array.bytes for array in arrays)


def _matmul_kind(left: ArrayType) -> str:
    return "matmul8" if left.kind in _EIGHT_BITS else "matmul"


def _matmul_flops(computation: Computation, instruction: Instruction) -> float:
    """Two operations for each element of the result and each index that is summed over."""
    # cuBLAS has the axes in its configuration, a fusion's dot beside its operands.
    left = _operand_arrays(computation, instruction)[0]
    axes = _CONTRACTED.search(instruction.line) or _CONTRACTED_BY_LIBRARY.search(instruction.line)
    flops = 2.0 * instruction.arrays[0].size
    if axes:
        for axis in axes[1].replace('"', "").split(","):
            flops *= left.shape[int(axis)]
    return flops


def _convolution_flops(
    instruction: Instruction, inputs: list[ArrayType], output: ArrayType
) -> float:
    """Two operations for each element of the result and each kernel weight that it sees."""
    axes = _CONVOLUTION_AXES.search(instruction.line)
    assert axes, f"a convolution without axes: {instruction.line}"
    kernel = inputs[1]
    return 2.0 * output.size * kernel.size / kernel.shape[axes[1].index("o")]


def _attention_flops(target: str, inputs: list[ArrayType]) -> float:
    """Two matmuls over all pairs of query and key, five in the backward pass.

    inputs: q [b, t, n, k] and keys [b, s, n, k] first; b may be missing.
    """
    keys = inputs[1].shape[-3]
    matmuls = 5 if "Backward" in target else 2
    return matmuls * 2.0 * inputs[0].size * keys
