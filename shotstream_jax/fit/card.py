"""How much memory a GPU has for a stream: this machine's, or one that is named."""

from typing import NamedTuple

import jax

from shotstream_jax.core.devices import AMPERE, GPUS, device_capability, usable_memory
from shotstream_jax.core.errors import InputError

GIB = 2**30


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
        return Card(gpu.kind, usable_memory(gpu.memory), gpu.capability_number)
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 1 <= size <= 10_000:
        raise InputError(
            f"--gpu {text}: write the GB of its memory, like 24, or one of {', '.join(GPUS)}"
        )
    return Card(f"a GPU of {size:g} GB", usable_memory(int(size * GIB)), AMPERE)


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
