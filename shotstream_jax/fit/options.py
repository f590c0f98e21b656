"""How a model is loaded for a stream, and what each choice saves and costs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from shotstream_jax.presets import OWN_DECODER, OWN_HISTORY


@dataclasses.dataclass(frozen=True)
class StreamOptions:
    """The options of checkpoint/load.load that decide what a stream takes of a device's memory."""

    dtype: str = "bfloat16"
    quantize: str = "none"
    decoder: str = OWN_DECODER
    history: str = OWN_HISTORY
    cache_dtype: str = "same"
    decode_frames: int = 0
    text_memory: str = "device"
    text_dtype: str = "same"


# What saves memory, the cheapest first: the first two change no number of the result.
# docs/performance.md has their measured errors and costs.
SAVERS = (
    ("decode_frames", 1),
    ("text_memory", "host"),
    ("cache_dtype", "int8"),
    ("quantize", "int8"),
)


def savings(asked: StreamOptions) -> Iterator[StreamOptions]:
    """The options as they were asked for, then with each combination of SAVERS that they lack.

    The cheapest first: a combination costs as much as the dearest of its members.
    """
    usual = StreamOptions()
    # What was chosen already is left alone.
    lacking = []
    for name, value in SAVERS:
        if dataclasses.asdict(asked)[name] == dataclasses.asdict(usual)[name]:
            lacking.append((name, value))
    # Bit i of the number stands for the i-th of them.
    for number in range(2 ** len(lacking)):
        chosen: dict[str, Any] = {}
        for i, (name, value) in enumerate(lacking):
            if number >> i & 1:
                chosen[name] = value
        yield dataclasses.replace(asked, **chosen)


def words(options: StreamOptions, asked: StreamOptions) -> str:
    """What to add to a command line that asks for one to get the other."""
    found = []
    before = dataclasses.asdict(asked)
    for name, value in dataclasses.asdict(options).items():
        if value != before[name]:
            found.append(f"--config.{name}={value}")
    return " ".join(found)
