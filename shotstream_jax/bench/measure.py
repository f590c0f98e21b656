"""Timing of compiled functions, and what the device can do at most."""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

LEAST_CALLS = 3


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds: of the first call, which compiles, and the median of the `calls` others."""

    first: float
    median: float
    calls: int


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The device's measured rates: FLOP/s of a large matmul, byte/s read and written by a large copy."""

    matmul: float
    copy: float


def timed(call: Callable[[], Any], seconds: float) -> Timing:
    """Calls it for so long (at least LEAST_CALLS times), each time until the result is there."""
    return timed_in_turn([call], seconds)[0]


def timed_in_turn(calls: list[Callable[[], Any]], seconds: float) -> list[Timing]:
    """The same for several, one call of each in turn, so that a machine's moods hit all alike."""
    firsts, durations = [_once(call) for call in calls], [[] for _ in calls]
    stop = time.perf_counter() + seconds
    while len(durations[0]) < LEAST_CALLS or time.perf_counter() < stop:
        for call, found in zip(calls, durations, strict=True):
            found.append(_once(call))
    return [
        Timing(first, statistics.median(d), len(d))
        for first, d in zip(firsts, durations, strict=True)
    ]


def _once(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def roofline(dtype: jnp.dtype, seconds: float) -> Roofline:
    """Of the first device."""
    n, size = (2048, 2**26) if jax.devices()[0].platform == "cpu" else (8192, 2**29)
    a = jax.jit(lambda key: jax.random.normal(key, (n, n), dtype))(jax.random.key(0))
    product = jax.jit(lambda a: jnp.dot(a, a, preferred_element_type=jnp.float32).astype(dtype))
    add = jax.jit(
        lambda x: x + 1, donate_argnums=0
    )  # into its own memory: fresh pages cost more than the copy
    buffer = jnp.zeros(size, jnp.float32)

    def copy() -> Any:
        nonlocal buffer
        buffer = add(buffer)
        return buffer

    matmul, moved = timed(lambda: product(a), seconds), timed(copy, seconds)
    return Roofline(2 * n**3 / matmul.median, 8 * size / moved.median)


def peak_device_memory() -> int | None:
    """Bytes in use on the first device at the worst moment so far; None where it does not tell (processors)."""
    stats = jax.devices()[0].memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None
