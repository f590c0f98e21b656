"""Time and peak memory of importing full-size weights in 8 bits, and of exporting what they are.

    python -m benchmarks.speed.eight_bit_files --dir /somewhere/with/20GB

Makes wan-1.3b's transformer of random values twice: as ComfyUI's scaled fp8 (safetensors, under its
prefix, a scale for each weight) and as GGUF (Q8_0, needs the extra `gguf`); the matrices of the
blocks in 8 bits, all else in bfloat16 and float32. Each is imported and exported by a process of
its own that is measured from outside (Linux), and every exported tensor must be what the format
says, bit for bit: float32(number) · scale. Takes about 10 minutes and removes its files at the end.
Prints JSON lines.
"""

import functools
import pathlib
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from benchmarks.output import print_json
from benchmarks.speed.checkpoints import CONVERT, measure_command, random_tensor
from shotstream_jax import cli
from shotstream_jax.convert.files import read_safetensors, write_safetensors
from shotstream_jax.convert.names import Lazy
from shotstream_jax.convert.tables import part_table
from shotstream_jax.presets import find_preset

_FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_PREFIX = "model.diffusion_model."

Shapes = dict[str, tuple[int, ...]]


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.speed.eight_bit_files", __doc__)
    p.add_argument(
        "--dir", type=pathlib.Path, required=True, help="where the files go; removed at the end"
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    args.dir.mkdir(parents=True, exist_ok=True)
    shapes = part_table(find_preset("wan-1.3b"), "dit").shapes()
    scaled = args.dir / "wan_fp8_scaled.safetensors"
    quantised = args.dir / "wan_q8_0.gguf"
    write_scaled(scaled, shapes)
    there_and_back(args.dir, scaled, shapes, value_in_float8)
    write_gguf(quantised, shapes)
    there_and_back(args.dir, quantised, shapes, value_in_q8_0)
    shutil.rmtree(args.dir)


def is_narrow(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight is one of those that these files keep in 8 bits."""
    return name.startswith("blocks.") and len(shape) == 2 and name.endswith(".weight")


def wide_type(shape: tuple[int, ...]) -> np.dtype:
    """The type of what is not in 8 bits: vectors in bfloat16."""
    return _BFLOAT16 if len(shape) == 1 else np.dtype(np.float32)


def float8_scale(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight's scale [], by which its largest number is float8's own largest."""
    wide = random_tensor(name, shape, np.dtype(np.float32))
    return np.asarray(np.abs(wide).max() / float(ml_dtypes.finfo(_FLOAT8).max), np.float32)


def float8_numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight's numbers."""
    wide = random_tensor(name, shape, np.dtype(np.float32))
    return (wide / float8_scale(name, shape)).astype(_FLOAT8)


def value_in_float8(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """What a weight is worth in the scaled file."""
    if not is_narrow(name, shape):
        return random_tensor(name, shape, wide_type(shape))
    return float8_numbers(name, shape).astype(np.float32) * float8_scale(name, shape)


def write_scaled(path: pathlib.Path, shapes: Shapes) -> None:
    """A file in ComfyUI's first scaled form, one tensor in memory at a time."""
    state = {"scaled_fp8": Lazy((2,), _FLOAT8, functools.partial(np.zeros, 2, _FLOAT8))}
    for name, shape in shapes.items():
        if is_narrow(name, shape):
            numbers = functools.partial(float8_numbers, name, shape)
            scale = functools.partial(float8_scale, name, shape)
            scale_name = name.removesuffix("weight") + "scale_weight"
            state[_PREFIX + name] = Lazy(shape, _FLOAT8, numbers)
            state[_PREFIX + scale_name] = Lazy((), np.dtype(np.float32), scale)
        else:
            dtype = wide_type(shape)
            make = functools.partial(random_tensor, name, shape, dtype)
            state[_PREFIX + name] = Lazy(shape, dtype, make)
    write_safetensors(state, path, lambda _: None)


def q8_0(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight's blocks as GGUF has them."""
    from gguf import GGMLQuantizationType, quants

    wide = random_tensor(name, shape, np.dtype(np.float32))
    return quants.quantize(wide, GGMLQuantizationType.Q8_0)


def value_in_q8_0(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """What a weight is worth in the GGUF file: blocks of a scale in float16 and 32 int8."""
    if not is_narrow(name, shape):
        return random_tensor(name, shape, wide_type(shape))
    blocks = q8_0(name, shape).reshape(-1, 34)
    scales = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return (blocks[:, 2:].view(np.int8).astype(np.float32) * scales).reshape(shape)


def gguf_type(name: str, shape: tuple[int, ...]) -> Any:
    """GGUF's own name of the type that a weight has in the file."""
    from gguf import GGMLQuantizationType

    if is_narrow(name, shape):
        return GGMLQuantizationType.Q8_0
    if wide_type(shape) == _BFLOAT16:
        return GGMLQuantizationType.BF16
    return GGMLQuantizationType.F32


def write_gguf(path: pathlib.Path, shapes: Shapes) -> None:
    """A GGUF file, whose arrays have four axes at most, one tensor in memory at a time."""
    import gguf

    writer = gguf.GGUFWriter(path, "wan")
    for name, shape in shapes.items():
        stored = shape
        if len(shape) > 4:
            stored = (*shape[:2], *shape[3:])
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(shape))
        kind = gguf_type(name, shape)
        # Of arrays that are bytes for it, the writer wants the shape in bytes.
        in_bytes = gguf.quants.quant_shape_to_byte_shape(stored, kind)
        nbytes = int(np.prod(in_bytes))
        writer.add_tensor_info(name, in_bytes, np.dtype(np.uint8), nbytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, shape in shapes.items():
        is_q8 = is_narrow(name, shape)
        array = q8_0(name, shape) if is_q8 else random_tensor(name, shape, wide_type(shape))
        writer.write_tensor_data(array.reshape(-1).view(np.uint8))
    writer.close()


def there_and_back(
    folder: pathlib.Path,
    source: pathlib.Path,
    shapes: Shapes,
    right: Callable[[str, tuple[int, ...]], np.ndarray],
) -> None:
    """Imports and exports a file, and compares what comes out with what it is worth."""
    native = folder / "native"
    back = folder / "back.safetensors"
    print_json(file=source.name, gb=round(source.stat().st_size / 2**30, 2))
    command = [*CONVERT, "import", f"--shotstream={source}", f"--out={native}"]
    measure_command(f"import {source.name}", command)
    measure_command(f"export {source.name}", [*CONVERT, "export", str(native), f"--out={back}"])
    state = read_safetensors(back)
    differing = []
    for name, shape in shapes.items():
        # Layers of several types would have been widened: the values count.
        if not np.array_equal(
            np.asarray(state[name], np.float32), right(name, shape).astype(np.float32)
        ):
            differing.append(name)
    is_same = not differing and set(state) == set(shapes)
    print_json(file=source.name, exported_gb=round(back.stat().st_size / 2**30, 2), exact=is_same)
    if not is_same:
        sys.exit(f"differing: {', '.join(differing[:5])}")
    shutil.rmtree(native)
    back.unlink()
    source.unlink()


if __name__ == "__main__":
    cli.run(main)
