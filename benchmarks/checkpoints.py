"""Full-size conversion: time, disk and peak memory of import, load and export, with random weights.

    python benchmarks/checkpoints.py --dir /somewhere/with/60GB

Makes a synthetic set in the public layout (transformer in float32 safetensors, autoencoder and text encoder as PyTorch
files, the text encoder in bfloat16), then runs each command as a process of its own and measures it from outside.
Export is compared with the source bit for bit.
"""

import argparse
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

import ml_dtypes
import numpy as np

from shotstream_jax.convert import public
from shotstream_jax.convert.checkpoints import write_public
from shotstream_jax.convert.names import Lazy, State, state_bytes
from shotstream_jax.convert.tables import part_table
from shotstream_jax.presets import Preset, find_preset

FILES = {
    "dit": "diffusion_pytorch_model.safetensors",
    "vae": "Wan2.1_VAE.pth",
    "text": "models_t5_umt5-xxl-enc-bf16.pth",
}


def random_state(preset: Preset, part: str) -> State:
    """Random tensors of a part, made when they are asked for."""
    dtype = np.dtype(ml_dtypes.bfloat16 if part == "text" else np.float32)
    shapes = part_table(preset, part).shapes()
    return {
        key: Lazy(shape, dtype, functools.partial(draw, key, shape, dtype))
        for key, shape in shapes.items()
    }


def draw(key: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """In rows, so that a large table's float32 form is never whole in memory."""
    generator, array = np.random.default_rng(zlib.crc32(key.encode())), np.empty(shape, dtype)
    for row in np.array_split(array.reshape(shape[0], -1), max(1, array.nbytes // 2**27)):
        row[...] = generator.standard_normal(row.shape, np.float32) * 0.02
    return array


def make_set(preset: Preset, folder: pathlib.Path) -> None:
    for part, name in FILES.items():
        if not (folder / name).exists():
            write_public({"": random_state(preset, part)}, folder / name, lambda _: None)
    tokenizer = folder / "google" / "umt5-xxl" / "tokenizer.json"
    tokenizer.parent.mkdir(parents=True, exist_ok=True)
    unigram = {
        "type": "Unigram",
        "unk_id": 2,
        "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]],
    }
    tokenizer.write_text(json.dumps({"version": "1.0", "model": unigram}))


def measure(name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs a command; its seconds and its largest resident memory, as the operating system counts it (Linux).

    Polled, because the count that a process leaves behind at its end includes its parent's before the start.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env=os.environ | (environment or {})
    )
    peak = 0.0
    while process.poll() is None:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        peak = max(
            [
                peak,
                *(
                    int(line.split()[1]) / 1024
                    for line in status.splitlines()
                    if line.startswith("VmHWM")
                ),
            ]
        )
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{name} failed: {' '.join(command)}")
    say(what=name, seconds=round(time.perf_counter() - start, 1), peak_mb=round(peak, 1))


def say(**row: object) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def same(part: str, a: pathlib.Path, b: pathlib.Path) -> bool:
    """Two public files, bit for bit."""
    first, second = (
        public.open_transformer(p) if part == "dit" else public.open_flat(p) for p in (a, b)
    )
    equal = (np.asarray(first[key]).tobytes() == np.asarray(second[key]).tobytes() for key in first)
    return set(first) == set(second) and all(equal)


LOAD = """
import sys, jax
from shotstream_jax.core.sharding import make_mesh
from shotstream_jax.checkpoint.load import load
model = load(sys.argv[1], dtype="bfloat16", mesh=make_mesh({"fsdp": 8}) if sys.argv[2] == "8" else None)
jax.block_until_ready(model.params)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dir", type=pathlib.Path, required=True, help="where the files go; removed at the end"
    )
    args = parser.parse_args()
    preset = find_preset("wan-1.3b")
    wan, native = args.dir / "wan", args.dir / "native"
    wan.mkdir(parents=True, exist_ok=True)
    make_set(preset, wan)
    states = {part: random_state(preset, part) for part in FILES}
    largest = max(
        math.prod(a.shape) * a.dtype.itemsize for state in states.values() for a in state.values()
    )
    sizes = {part: round(state_bytes(state) / 2**30, 2) for part, state in states.items()}
    say(source_gb=sizes, largest_tensor_mb=round(largest / 2**20, 1))
    convert = [sys.executable, "-m", "shotstream_jax.convert"]
    shutil.rmtree(native, ignore_errors=True)
    measure("import", [*convert, "import", "--wan", str(wan), "--out", str(native)])
    disk = sum(p.stat().st_size for p in native.rglob("*") if p.is_file())
    say(native_gb=round(disk / 2**30, 2))
    measure("load bfloat16, one device", [sys.executable, "-c", LOAD, str(native), "1"])
    eight = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    measure("load bfloat16, 8 devices", [sys.executable, "-c", LOAD, str(native), "8"], eight)
    for part, name in FILES.items():
        out = args.dir / name
        measure(
            f"export {part}", [*convert, "export", str(native), "--part", part, "--out", str(out)]
        )
        say(what=f"{part} identical to its source", value=same(part, wan / name, out))
        out.unlink()
    shutil.rmtree(args.dir)


if __name__ == "__main__":
    main()
