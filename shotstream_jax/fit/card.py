"""How much memory a GPU has for a stream: this machine's, or one that is named."""

from typing import NamedTuple

import jax

from shotstream_jax.core.devices import GPU_RESERVE, GPUS, device_capability
from shotstream_jax.core.errors import InputError
from shotstream_jax.core.gpu_memory import MEMORY_FRACTION

GIB = 2**30
_AMPERE = 8.0


class Card(NamedTuple):
    """A GPU. memory: bytes that a stream can have of it. capability: None if it is not known."""

    name: str
    memory: int
    capability: float | None


def find_card(text: str) -> Card:
    """A GPU by its name in core/devices.GPUS, or any with bfloat16 and so many GB of memory.

    Raises InputError if it is neither.
    """
    if text in GPUS:
        gpu = GPUS[text]
        major, minor = gpu.capability
        return Card(gpu.kind, usable(gpu.memory), major + minor / 10)
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 1 <= size <= 10_000:
        raise InputError(
            f"--gpu {text}: write the GB of its memory, like 24, or one of {', '.join(GPUS)}"
        )
    return Card(f"a GPU of {size:g} GB", usable(int(size * GIB)), _AMPERE)


def this_card() -> Card | None:
    """This machine's first GPU; None if it has none, or does not say how much memory it has."""
    device = jax.devices()[0]
    if device.platform != "gpu":
        return None
    # What jax may have of it, by the environment or core/gpu_memory.
    stats = device.memory_stats()
    limit = (stats or {}).get("bytes_limit")
    if not limit:
        return None
    return Card(device.device_kind, int(limit), device_capability(device))


def usable(memory: int) -> int:
    """Of so many bytes those that jax is given, and the driver leaves."""
    return min(int(MEMORY_FRACTION * memory), memory - int(GPU_RESERVE * GIB))
