"""Timing of compiled functions, and what the device can do at most."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from shotstream_jax.core.typing import DType

LEAST_CALLS = 3
# On a GPU or TPU calls are started one after the other, until so many seconds' work is waiting: to
# start one and hear of its end takes a tenth of a millisecond, as long as many a kernel.
_WAITING = 0.02
_MOST_WAITING = 64


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds: of the first call, which compiles, and the median of the `calls` others.

    A short call on a GPU or TPU stands for some that were started together.
    """

    first: float
    median: float
    calls: int


@dataclasses.dataclass(frozen=True)
class Roofline:
    """The device's measured rates.

    matmul: FLOP/s of a large matmul. copy: bytes/s, read and written, of a large copy.
    """

    matmul: float
    copy: float


def timed(call: Callable[[], Any], seconds: float, least: int = LEAST_CALLS) -> Timing:
    """Calls it for so many seconds, at least `least` times, each until its result is there."""
    return timed_in_turn([call], seconds, least)[0]


def timed_in_turn(
    calls: Sequence[Callable[[], Any]], seconds: float, least: int = LEAST_CALLS
) -> list[Timing]:
    """As `timed` for several, one call of each in turn: other work slows all of them alike."""
    # The first calls compile and are not in the medians.
    firsts = [_time(call) for call in calls]
    together = [_calls_together(call) for call in calls]
    durations: list[list[float]] = [[] for _ in calls]
    # Rounds of each until the time is over.
    stop = time.perf_counter() + seconds
    while len(durations[0]) < least or time.perf_counter() < stop:
        for call, count, found in zip(calls, together, durations, strict=True):
            found.append(_time(call, count) / count)
    timings = []
    for first, found in zip(firsts, durations, strict=True):
        timings.append(Timing(first, statistics.median(found), len(found)))
    return timings


def _time(call: Callable[[], Any], count: int = 1) -> float:
    """Seconds of so many calls, until the device has finished the last."""
    began = time.perf_counter()
    for _ in range(count):
        result = call()
    jax.block_until_ready(result)
    return time.perf_counter() - began


def _calls_together(call: Callable[[], Any]) -> int:
    """How many calls are started before the end of the last is waited for."""
    # A processor would run them side by side.
    if jax.devices()[0].platform == "cpu":
        return 1
    alone = _time(call)
    return min(_MOST_WAITING, max(1, round(_WAITING / alone)))


def measure_roofline(dtype: DType, seconds: float) -> Roofline:
    """What the first device reaches; so many seconds on each of the two rates.

    dtype: of the matmul's operands, which accumulates in float32.
    """
    # Large enough that starting a program costs nothing beside it.
    if jax.devices()[0].platform == "cpu":
        n = 2048  # rows and columns of the matrices
        size = 2**26  # float32 numbers of the buffer
    else:
        n = 8192
        size = 2**29

    @jax.jit
    def make_matrix(key: jax.Array) -> jax.Array:
        """A random matrix [n, n]."""
        return jax.random.normal(key, (n, n), dtype)

    @jax.jit
    def product(a: jax.Array) -> jax.Array:
        """a · a, as the models multiply."""
        return a @ a

    def increment(x: jax.Array) -> jax.Array:
        """Reads and writes every number once."""
        return x + 1

    # Into its own memory (donation): to get fresh pages would cost more than the copy.
    increment_in_place = jax.jit(increment, donate_argnums=0)
    matrix = make_matrix(jax.random.key(0))
    buffer = jnp.zeros(size, jnp.float32)

    def multiply() -> jax.Array:
        """A call of the matmul."""
        return product(matrix)

    def copy() -> jax.Array:
        """A call of the copy, on the buffer that the last one left."""
        nonlocal buffer
        buffer = increment_in_place(buffer)
        return buffer

    matmul = timed(multiply, seconds)
    moved = timed(copy, seconds)
    # 2·n³ operations; 4 bytes read and 4 written for each number.
    return Roofline(2 * n**3 / matmul.median, 8 * size / moved.median)


def peak_device_memory() -> int | None:
    """The most bytes in use on the first device so far; None on processors, which do not count."""
    stats = jax.devices()[0].memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None
