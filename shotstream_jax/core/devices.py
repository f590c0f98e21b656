"""Which device a program is traced for; speed and memory of devices by their data sheets.

The data sheets' rates are upper bounds that no program reaches.
"""

import resource
import sys
from typing import NamedTuple

import jax

from shotstream_jax.core.gpu_memory import MEMORY_FRACTION


class Peak(NamedTuple):
    """A device's peak rates.

    flops: dense bfloat16 with float32 sums, FLOP/s. memory: bytes/s of its own memory. links:
    bytes/s that it can receive from other devices over all of its links (half of a sheet's
    "bidirectional" figure). flops8: as flops, for 8-bit operands; 0 where it is not known.
    """

    flops: float
    memory: float
    links: float
    flops8: float = 0.0


class Gpu(NamedTuple):
    """An NVIDIA GPU as its driver describes it.

    kind: its name there (`device_kind`). capability: major and minor compute capability. memory,
    l2: bytes. cores: multiprocessors; what follows is of one of them.
    """

    kind: str
    capability: tuple[int, int]
    memory: int
    l2: int
    clock_ghz: float
    cores: int
    shared_memory: int
    threads: int
    float_units: int

    @property
    def capability_number(self) -> float:
        """The compute capability as devices have it, like 8.9."""
        major, minor = self.capability
        return major + minor / 10


# By a part of the device's `device_kind`; the first that occurs in it counts.
PEAKS = {
    "v4": Peak(275e12, 1228e9, 300e9),
    "v5 lite": Peak(197e12, 819e9, 200e9),
    "v5e": Peak(197e12, 819e9, 200e9),
    "v5": Peak(459e12, 2765e9, 600e9),  # v5p
    "v6 lite": Peak(918e12, 1638e9, 400e9),
    "v6e": Peak(918e12, 1638e9, 400e9),
    # A device is half a chip of 2307 TFLOP/s in bfloat16, 4614 in 8 bits, 7380 GB/s.
    "TPU7x": Peak(1153.5e12, 3690e9, 300e9, 2307e12),
    "A100": Peak(312e12, 2039e9, 300e9, 624e12),
    "H100": Peak(989e12, 3350e9, 450e9, 1979e12),
    "H200": Peak(989e12, 4800e9, 450e9, 1979e12),
    "B200": Peak(2250e12, 7672e9, 900e9, 4500e12),
    # GeForce: half the rate of 16-bit sums.
    "RTX 4090": Peak(165e12, 1008e9, 32e9, 330e12),
    "RTX 4080": Peak(97e12, 717e9, 32e9, 195e12),
    "RTX 4070": Peak(58e12, 504e9, 32e9, 117e12),
}

# GPUs for which programs can be compiled where they are not (aot/gpu), by the name for that.
GPUS = {
    "a100": Gpu(
        kind="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        memory=85_100_068_864,
        l2=40 * 2**20,
        clock_ghz=1.41,
        cores=108,
        shared_memory=164 * 2**10,
        threads=2048,
        float_units=64,
    ),
    "h100": Gpu(
        kind="NVIDIA H100 80GB HBM3",
        capability=(9, 0),
        memory=84_942_979_072,
        l2=50 * 2**20,
        clock_ghz=1.98,
        cores=132,
        shared_memory=228 * 2**10,
        threads=2048,
        float_units=128,
    ),
    "h200": Gpu(
        kind="NVIDIA H200",
        capability=(9, 0),
        memory=150_109_880_320,
        l2=50 * 2**20,
        clock_ghz=1.98,
        cores=132,
        shared_memory=228 * 2**10,
        threads=2048,
        float_units=128,
    ),
    "b200": Gpu(
        kind="NVIDIA B200",
        capability=(10, 0),
        memory=191_514_411_008,
        l2=132_644_864,
        clock_ghz=1.965,
        cores=148,
        shared_memory=228 * 2**10,
        threads=2048,
        float_units=128,
    ),
    "rtx4090": Gpu(
        kind="NVIDIA GeForce RTX 4090",
        capability=(8, 9),
        memory=24 * 2**30,
        l2=72 * 2**20,
        clock_ghz=2.52,
        cores=128,
        shared_memory=100 * 2**10,
        threads=1536,
        float_units=128,
    ),
    "rtx4080": Gpu(
        kind="NVIDIA GeForce RTX 4080",
        capability=(8, 9),
        memory=16 * 2**30,
        l2=64 * 2**20,
        clock_ghz=2.505,
        cores=76,
        shared_memory=100 * 2**10,
        threads=1536,
        float_units=128,
    ),
    "rtx4070": Gpu(
        kind="NVIDIA GeForce RTX 4070",
        capability=(8, 9),
        memory=12 * 2**30,
        l2=36 * 2**20,
        clock_ghz=2.475,
        cores=46,
        shared_memory=100 * 2**10,
        threads=1536,
        float_units=128,
    ),
}

# Bytes of a GPU that its driver and jax's own context take.
_DRIVERS = 3 * 2**28
# The first compute capability with matrix units for bfloat16, and with cuDNN's flash attention.
AMPERE = 8.0

# What the TPU compiler lets a program have, in GiB a device, by `device_kind`.
# A device of v4 and v7x is half a chip.
HBM = {
    "TPU v4": 15.25,
    "TPU v5 lite": 15.75,
    "TPU v5": 95.74,
    "TPU v6 lite": 31.25,
    "TPU7x": 94.75,
}


def target_platform() -> str:
    """The platform that what is traced now is for: "cpu", "gpu" or "tpu".

    It is that of the mesh, where one is set; else that of this machine's first device.
    """
    return _target_kind_and_platform()[1]


def target_capability() -> float | None:
    """The compute capability that what is traced now is for, like 8.9; None where there is none."""
    kind, platform = _target_kind_and_platform()
    if platform != "gpu":
        return None
    # A GPU that is not there is one of the table; programs are compiled for no others.
    for gpu in GPUS.values():
        if gpu.kind == kind:
            return gpu.capability_number
    for device in jax.local_devices():
        if device.device_kind == kind:
            return device_capability(device)
    return None


def why_no_devices() -> str | None:
    """Why jax has nothing to compute on, in one line; None if it has devices."""
    # With JAX_PLATFORMS naming what is not there, jax fails an assertion or raises.
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = str(error) or "jax has no device of the kinds that JAX_PLATFORMS names"
        return reason.splitlines()[0]
    return None


def device_capability(device: jax.Device) -> float | None:
    """A GPU's compute capability; None for a GPU of another maker, which has none."""
    try:
        return float(device.compute_capability)
    except (AttributeError, ValueError):
        return None


def _target_kind_and_platform() -> tuple[str, str]:
    """The kind of the device that what is traced now is for, and its platform."""
    mesh = jax.sharding.get_abstract_mesh()
    # Under a mesh its devices count, which need not be those of this machine.
    device = None if mesh.empty else mesh.abstract_device
    if device is None:
        device = jax.devices()[0]
    # A GPU's device says "gpu", the compiler for one that is not there "cuda".
    platform = "gpu" if device.platform in ("cuda", "rocm") else device.platform
    return device.device_kind, platform


def device_peak(device: jax.Device) -> Peak | None:
    """A device's peak rates; None where they are not known (a laptop's processor)."""
    return kind_peak(device.device_kind)


def usable_memory(memory: int) -> int:
    """Of a GPU's bytes those that jax is given (core/gpu_memory), and the driver leaves."""
    return min(int(MEMORY_FRACTION * memory), memory - _DRIVERS)


def kind_peak(kind: str) -> Peak | None:
    """The peak rates of a kind of device; None where they are not known."""
    for part, peak in PEAKS.items():
        if part in kind:
            return peak
    return None


def program_memory(device: jax.Device) -> float | None:
    """GiB that a program can have on a device; None where it is not known."""
    for gpu in GPUS.values():
        if gpu.kind == device.device_kind:
            return round(usable_memory(gpu.memory) / 2**30, 2)
    return HBM.get(device.device_kind)


def peak_rss_mb() -> float:
    """The process's largest resident memory so far, in MB of 2²⁰ bytes."""
    # macOS counts in bytes, Linux in KiB.
    unit = 1 if sys.platform == "darwin" else 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * unit / 2**20
