"""Section `device`: what the device is, and what it reaches at best."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from shotstream_jax.bench.measure import measure_roofline
from shotstream_jax.bench.survey.survey import Survey
from shotstream_jax.core.devices import device_peak
from shotstream_jax.core.typing import Array, DType

_SMI = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,power.draw,power.limit"
_EIGHT_BITS = (jnp.int8, jnp.float8_e4m3fn)  # of one shape: a GPU tries kernels for many seconds


def device_section(survey: Survey) -> None:
    """The device's description, its rates, and the matmuls that the transformer is made of."""
    survey.find("device", "what it is", **_description())
    with survey.attempt("device", "large matmul and copy"):
        _rates(survey)
    for rows, inputs, outputs in _linears(survey):
        _matmul(survey, survey.dtype, rows, inputs, outputs)
    for kind in _EIGHT_BITS:
        _matmul(survey, kind, rows, inputs, outputs)
    _to_host(survey)


def _description() -> dict[str, Any]:
    """What jax and the driver say of the device."""
    device = jax.devices()[0]
    found: dict[str, Any] = {
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "memory_stats": device.memory_stats(),
    }
    if device.platform == "gpu":
        found["compute_capability"] = device.compute_capability
        # As the driver sees it; the tool is not everywhere.
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["nvidia-smi", f"--query-gpu={_SMI}", "--format=csv"]
            found["nvidia_smi"] = subprocess.run(
                command, capture_output=True, text=True, timeout=20, check=True
            ).stdout.split("\n")
    return found


def _rates(survey: Survey) -> None:
    """A large matmul and a large copy: what everything else is compared with."""
    # In the type of the stream's matmuls.
    rates = measure_roofline(survey.dtype, survey.settings.seconds)
    peak = device_peak(jax.devices()[0])
    survey.find(
        "device",
        f"large matmul, {survey.dtype_name}",
        tflops=rates.matmul / 1e12,
        mfu=rates.matmul / peak.flops if peak else None,
    )
    survey.find("device", "large copy, read and written", gb_s=rates.copy / 1e9)


def _linears(survey: Survey) -> Iterator[tuple[int, int, int]]:
    """The shapes of a block's Linears over a chunk's tokens: rows, inputs, outputs."""
    cfg = survey.preset.dit
    rows, columns = cfg.grid(*survey.preset.latent_grid(survey.video))
    tokens = survey.preset.memory.chunk * rows * columns
    # An output projection; q, k and v together; the MLP's two.
    yield tokens, cfg.dim, cfg.dim
    yield tokens, cfg.dim, 3 * cfg.dim
    yield tokens, cfg.dim, cfg.ffn_dim
    yield tokens, cfg.ffn_dim, cfg.dim


def _matmul(survey: Survey, kind: DType, rows: int, inputs: int, outputs: int) -> None:
    """One of them on operands of a type, without scales: the most that rounding could win."""
    name = jnp.dtype(kind).name
    # Sums as the matrix units make them.
    sums = {"int8": jnp.int32, "float8_e4m3fn": jnp.float32}.get(name, kind)

    @jax.jit
    def product(a: Array, b: Array) -> Array:
        """a · b."""
        return jnp.dot(a, b, preferred_element_type=sums)

    variant = f"matmul {rows}×{inputs}×{outputs}, {name}"
    with survey.attempt("device", variant):
        a = _numbers(0, (rows, inputs), kind)
        b = _numbers(1, (inputs, outputs), kind)
        flops = 2 * rows * inputs * outputs
        survey.measure("device", variant, lambda: product(a, b), flops=flops, share=0.3)


def _numbers(seed: int, shape: tuple[int, ...], kind: DType) -> Array:
    """Normal numbers, wide enough for integers."""
    return (8 * jax.random.normal(jax.random.key(seed), shape)).astype(kind)


def _to_host(survey: Survey) -> None:
    """The bytes of a chunk's frames, from the device to the host."""
    preset = survey.preset
    frames = preset.memory.chunk * preset.vae.time
    shape = (frames, survey.video.height, survey.video.width, 3)
    state = jnp.zeros(shape, jnp.uint8)
    next_frames: Callable[[Array], Array] = jax.jit(lambda x: x + 1)

    def fetch() -> Any:
        """A fresh array each time: jax keeps what it has fetched once."""
        nonlocal state
        state = next_frames(state)
        return jax.device_get(state)

    survey.measure("device", "a chunk's frames to the host", fetch, moved=state.size, share=0.3)
