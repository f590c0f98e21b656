"""Time, disk and peak memory of importing, loading and exporting full-size weights.

    python -m benchmarks.speed.checkpoints --dir /somewhere/with/60GB

Makes a synthetic set of random values in the public layout (transformer in float32 safetensors,
autoencoder and text encoder as PyTorch files, the text encoder in bfloat16), then runs each command
as a process of its own and measures it from outside (Linux). Takes about 20 minutes and removes its
files at the end. Prints JSON lines; each export is compared with the source, bit for bit.
"""

import functools
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from benchmarks.output import print_json
from shotstream_jax import cli
from shotstream_jax.convert.checkpoints import write_public
from shotstream_jax.convert.names import Lazy, State, state_bytes
from shotstream_jax.convert.tables import part_table
from shotstream_jax.presets import Preset, find_preset

FILES = {
    "dit": "diffusion_pytorch_model.safetensors",
    "vae": "Wan2.1_VAE.pth",
    "text": "models_t5_umt5-xxl-enc-bf16.pth",
}
CONVERT = [sys.executable, "-m", "shotstream_jax.convert"]
EIGHT_DEVICES = {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "JAX_PLATFORMS": "cpu",
}
# Loads a checkpoint onto one device or onto eight: arguments FOLDER, 1 or 8.
LOAD = """
import sys, jax
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.checkpoint.load import load
mesh = make_mesh({"fsdp": 8}) if sys.argv[2] == "8" else None
model = load(sys.argv[1], dtype="bfloat16", mesh=mesh)
jax.block_until_ready(model.params)
"""


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.speed.checkpoints", __doc__)
    p.add_argument(
        "--dir",
        type=pathlib.Path,
        required=True,
        help="where the files go; removed at the end",
    )
    return p


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    preset = find_preset("wan-1.3b")
    wan = args.dir / "wan"
    native = args.dir / "native"
    wan.mkdir(parents=True, exist_ok=True)
    make_set(preset, wan)
    print_sizes(preset)

    shutil.rmtree(native, ignore_errors=True)
    measure_command("import", [*CONVERT, "import", f"--wan={wan}", f"--out={native}"])
    disk = 0
    for path in native.rglob("*"):
        if path.is_file():
            disk += path.stat().st_size
    print_json(native_gb=round(disk / 2**30, 2))

    # A process each, so that one's memory does not count for the next.
    load = [sys.executable, "-c", LOAD, str(native)]
    measure_command("load bfloat16, one device", [*load, "1"])
    measure_command("load bfloat16, 8 devices", [*load, "8"], EIGHT_DEVICES)
    # Each part's way back into its public file.
    for part, name in FILES.items():
        out = args.dir / name
        command = [*CONVERT, "export", str(native), f"--part={part}", f"--out={out}"]
        measure_command(f"export {part}", command)
        print_json(what=f"{part} identical to its source", value=same_file(part, wan / name, out))
        out.unlink()
    shutil.rmtree(args.dir)


def random_state(preset: Preset, part: str) -> State:
    """Random tensors of a part under their public names, made when they are asked for."""
    dtype = np.dtype(ml_dtypes.bfloat16 if part == "text" else np.float32)
    state = {}
    for key, shape in part_table(preset, part).shapes().items():
        make = functools.partial(random_tensor, key, shape, dtype)
        state[key] = Lazy(shape, dtype, make)
    return state


def random_tensor(key: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The tensor of this name, the same every time.

    Made in pieces, so that a large table's float32 form is never in memory as a whole.
    """
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    array = np.empty(shape, dtype)
    pieces = max(1, array.nbytes // 2**27)
    for rows in np.array_split(array.reshape(shape[0], -1), pieces):
        rows[...] = generator.standard_normal(rows.shape, np.float32) * 0.02
    return array


def make_set(preset: Preset, folder: pathlib.Path) -> None:
    """The public files, those that an interrupted run has left excepted, and a tokeniser."""
    for part, name in FILES.items():
        if not (folder / name).exists():
            write_public({"": random_state(preset, part)}, folder / name, lambda _: None)
    tokenizer = folder / "google" / "umt5-xxl" / "tokenizer.json"
    tokenizer.parent.mkdir(parents=True, exist_ok=True)
    write_tokenizer(tokenizer)


def write_tokenizer(path: pathlib.Path) -> None:
    """A tokeniser of three tokens."""
    unigram = {
        "type": "Unigram",
        "unk_id": 2,
        "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]],
    }
    path.write_text(json.dumps({"version": "1.0", "model": unigram}))


def print_sizes(preset: Preset) -> None:
    """The parts' sizes and that of the largest tensor."""
    sizes = {}
    largest = 0
    for part in FILES:
        state = random_state(preset, part)
        sizes[part] = round(state_bytes(state) / 2**30, 2)
        for tensor in state.values():
            largest = max(largest, math.prod(tensor.shape) * tensor.dtype.itemsize)
    print_json(source_gb=sizes, largest_tensor_mb=round(largest / 2**20, 1))


def measure_command(
    name: str, command: list[str], environment: Mapping[str, str] | None = None
) -> None:
    """Runs a command; prints its seconds and its largest resident memory (Linux).

    The memory is polled, because the count that a process leaves behind includes its parent's
    before it was started.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, peak_mb(process.pid))
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{name} failed: {' '.join(command)}")
    seconds = time.perf_counter() - start
    print_json(what=name, seconds=round(seconds, 1), peak_mb=round(peak, 1))


def peak_mb(pid: int) -> float:
    """A process's largest resident memory so far (Linux); 0 if it has ended."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    for line in status.splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def same_file(part: str, a: pathlib.Path, b: pathlib.Path) -> bool:
    """Whether two public files of a part have the same tensors, bit for bit."""
    first = open_part(a, part)
    second = open_part(b, part)
    if set(first) != set(second):
        return False
    for key in first:
        if np.asarray(first[key]).tobytes() != np.asarray(second[key]).tobytes():
            return False
    return True


if __name__ == "__main__":
    cli.run(main)
