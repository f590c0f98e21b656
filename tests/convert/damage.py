"""Sound weight files of every container, and damage: what reading a damaged one may come to."""

import pathlib
import resource
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from shotstream_jax.convert import public
from shotstream_jax.convert.dequantize import dequantize
from shotstream_jax.convert.files import read_metadata
from shotstream_jax.convert.inspect import inspect
from shotstream_jax.core.errors import InputError
from tests.convert.containers import (
    Storage,
    Tensor,
    q8_0_blocks,
    stand_in,
    write_gguf_file,
    write_safetensors_file,
    write_torch_old,
    write_torch_zip,
)

LONGEST = 5  # seconds of reading a file of some kilobytes
MOST_MEMORY = 64 * 2**20  # bytes that reading one may add
_NUMBERS = (0, 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def sound_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """A file of every container, by what it holds."""
    rng = np.random.default_rng(0)
    plain = {f"blocks.{i}.q.weight": rng.random((8, 8), np.float32) for i in range(4)}
    plain["patch_embedding.weight"] = rng.random((8, 4, 1, 2, 2), np.float32)
    scaled: dict[str, np.ndarray] = {"scaled_fp8": np.zeros(2, ml_dtypes.float8_e4m3fn)}
    for name, array in plain.items():
        scaled[name] = array.astype(ml_dtypes.float8_e4m3fn)
        scaled[name.replace("weight", "scale_weight")] = np.ones((8, 1), np.float32)
    numbers = rng.integers(-128, 128, (8, 32)).astype(np.int8)
    quantised = q8_0_blocks(numbers, np.ones(8, np.float16))
    files = {
        "safetensors": folder / "plain.safetensors",
        "safetensors, scaled": folder / "scaled.safetensors",
        "torch": folder / "zip.pt",
        "torch before 1.6": folder / "old.pt",
        "gguf": folder / "plain.gguf",
        "gguf, Q8_0": folder / "quantised.gguf",
    }
    write_safetensors_file(files["safetensors"], plain, {"format": "pt"})
    said = '{"layers": {"blocks.0.q": {"format": "float8_e4m3fn"}}}'
    write_safetensors_file(files["safetensors, scaled"], scaled, {"_quantization_metadata": said})
    write_torch_zip(files["torch"], {"generator": torch_state(plain), "step": 7, "lr": 1e-4})
    write_torch_old(files["torch before 1.6"], {"generator_ema": torch_state(plain), "step": 7})
    write_gguf_file(files["gguf"], plain)
    write_gguf_file(
        files["gguf, Q8_0"], {"x.weight": np.zeros((4, 64), np.float32)}, {"x.weight": quantised}
    )
    return files


def torch_state(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A state dict for a PyTorch file: each tensor half of its storage, and one in float8."""
    tensors: dict[str, Any] = {"dtype": stand_in("torch", "float32")}
    for number, (name, array) in enumerate(state.items()):
        twice = np.concatenate([array.reshape(-1)] * 2)
        strides = tuple(step // array.itemsize for step in array.strides)
        storage = Storage(twice, str(number), "FloatStorage")
        tensors[name] = Tensor(
            "_rebuild_tensor_v2", storage, array.size, array.shape, strides, False, {}
        )
    return tensors


def damaged_copies(data: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Without end: a kind of damage, and the file with it. Half of all is in its first quarter."""
    while True:
        copy = bytearray(data)
        reach = len(data) if rng.random() < 0.5 else max(len(data) // 4, 1)
        at = int(rng.integers(0, reach))
        length = int(rng.integers(1, 64))
        kind = str(
            rng.choice(
                ["bits", "bytes", "cut", "number", "moved", "taken out", "put in", "foreign"]
            )
        )
        match kind:
            case "bits":
                for place in rng.integers(0, reach, int(rng.integers(1, 9))):
                    copy[place] ^= 1 << int(rng.integers(0, 8))
            case "bytes":
                copy[at : at + length] = rng.bytes(len(copy[at : at + length]))
            case "cut":
                del copy[at:]
            case "number":
                width = int(rng.choice([1, 2, 4, 8]))
                number = int(rng.choice(len(_NUMBERS)))
                copy[at : at + width] = (_NUMBERS[number] % 2 ** (8 * width)).to_bytes(
                    width, "little"
                )
            case "moved":
                start = int(rng.integers(0, len(data)))
                copy[at : at + length] = data[start : start + length]
            case "taken out":
                del copy[at : at + length]
            case "put in":
                copy[at:at] = rng.bytes(length)
            case "foreign":
                signs = [b"PK\x03\x04", b"GGUF", b"\x80\x02", b"<html>", b"\xff" * 8, b"\0" * 8]
                sign = signs[int(rng.integers(0, len(signs)))]
                copy[: len(sign)] = sign
        yield kind, bytes(copy)


def read_everything(path: pathlib.Path) -> str:
    """Opens a file, describes it and reads all its arrays.

    Returns "read", or "one line" if it was refused with one. Raises whatever else happens, also
    TimeoutError and MemoryError beyond the bounds.
    """
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LONGEST)
    before = _peak_memory()
    try:
        inspect(path)
        metadata = read_metadata(path)
        for content in public.open_file(path).values():
            if public.is_state(content):
                for array in dequantize(content, metadata).state.values():
                    np.asarray(array)
    except InputError as error:
        if not str(error) or len(str(error)) > 2000:
            raise ValueError(f"not one line: {error}") from error
        outcome = "one line"
    else:
        outcome = "read"
    finally:
        signal.alarm(0)
    if _peak_memory() - before > MOST_MEMORY:
        raise MemoryError(f"reading it took {(_peak_memory() - before) >> 20} MB")
    return outcome


def _too_long(*_: object) -> None:
    raise TimeoutError(f"not read within {LONGEST} s")


def _peak_memory() -> int:
    """The most that this process ever had in memory, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
