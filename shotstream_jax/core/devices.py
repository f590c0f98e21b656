"""Speed and memory of devices by their data sheets: upper bounds that no program reaches."""

import resource
import sys
from typing import NamedTuple

import jax


class Peak(NamedTuple):
    """A device's peak rates.

    flops: dense bfloat16, FLOP/s. memory: bytes/s of its own memory. links: bytes/s that it can
    receive from other devices over all of its links (half of a sheet's "bidirectional" figure).
    """

    flops: float
    memory: float
    links: float


# By a part of the device's `device_kind`; the first that occurs in it counts.
PEAKS = {
    "v4": Peak(275e12, 1228e9, 300e9),
    "v5 lite": Peak(197e12, 819e9, 200e9),
    "v5e": Peak(197e12, 819e9, 200e9),
    "v5": Peak(459e12, 2765e9, 600e9),  # v5p
    "v6 lite": Peak(918e12, 1638e9, 400e9),
    "v6e": Peak(918e12, 1638e9, 400e9),
    "A100": Peak(312e12, 2039e9, 300e9),
    "H100": Peak(989e12, 3350e9, 450e9),
    "H200": Peak(989e12, 4800e9, 450e9),
}

# What the TPU compiler lets a program have, in GiB a device, by `device_kind`.
# A device of v4 and v7x is half a chip.
HBM = {
    "TPU v4": 15.25,
    "TPU v5 lite": 15.75,
    "TPU v5": 95.74,
    "TPU v6 lite": 31.25,
    "TPU7x": 94.75,
}


def device_peak(device: jax.Device) -> Peak | None:
    """A device's peak rates; None where they are not known (a laptop's processor)."""
    for kind, peak in PEAKS.items():
        if kind in device.device_kind:
            return peak
    return None


def peak_rss_mb() -> float:
    """The process's largest resident memory so far, in MB of 2²⁰ bytes."""
    # macOS counts in bytes, Linux in KiB.
    unit = 1 if sys.platform == "darwin" else 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * unit / 2**20
