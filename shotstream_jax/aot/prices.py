"""What the kernels of a program for a GPU cost: a forecast of its time.

A kernel takes

    max( launch,  FLOPs / rate of its kind,  bytes / bandwidth )                                (1)

and a program the sum over its kernels, as they run one after the other. Weights that are copied out
of the stack of all layers count in the bytes, but not in the time: these copies run beside the
matmuls.
"""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from shotstream_jax.aot.kernels import KINDS, Kernel
from shotstream_jax.core.devices import Peak


class Rates(NamedTuple):
    """What kernels are assumed to reach: FLOP/s by kind, bytes/s of memory, seconds of a launch."""

    attention: float
    mosaic: float
    matmul: float
    matmul8: float
    convolution: float
    memory: float
    launch: float = 2.5e-6


# The shares of the data sheet's rates that our kernels were seen to reach on an H200 at 480×832
# (docs/results.md, On a GPU): attention to a shot's last keys by cuDNN 512 TFLOP/s, by Mosaic 570;
# the decoder's convolutions 580. A matmul itself reached 740; but where the GPU's own choice are
# cuBLAS's kernels, bias and GELU are kernels beside them that the compiler's fusions here have
# inside, and with these 620 it comes to the same. An int8 matmul alone reached 610, one in fp8 430:
# hardly more than bfloat16, whatever the data sheet says. Memory is a guess.
_ATTENTION_SHARE = 0.518
_MOSAIC_SHARE = 0.576
_MATMUL_SHARE = 0.627
_MATMUL8_SHARE = 0.31
_CONVOLUTION_SHARE = 0.59
_MEMORY_SHARE = 0.866


def assumed_rates(peak: Peak) -> Rates:
    """What kernels are assumed to reach on a GPU with these peak rates."""
    return Rates(
        attention=_ATTENTION_SHARE * peak.flops,
        mosaic=_MOSAIC_SHARE * peak.flops,
        matmul=_MATMUL_SHARE * peak.flops,
        matmul8=_MATMUL8_SHARE * (peak.flops8 or peak.flops),
        convolution=_CONVOLUTION_SHARE * peak.flops,
        memory=_MEMORY_SHARE * peak.memory,
    )


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a program's kernels cost together.

    seconds, bytes, launches: by kind, of KINDS.
    """

    seconds: dict[str, float]
    bytes: dict[str, int]
    launches: dict[str, int]

    @property
    def total_seconds(self) -> float:
        """Of all kernels that run one after the other."""
        return sum(self.seconds.values())

    @property
    def total_bytes(self) -> int:
        """Of all kernels."""
        return sum(self.bytes.values())

    @property
    def total_launches(self) -> int:
        """Of all kernels."""
        return sum(self.launches.values())


def forecast(kernels: Iterable[Kernel], rates: Rates, seen: float = 1.0) -> Forecast:
    """Eq. (1) for all kernels.

    seen: the share of the keys that attention with a length looks at.
    """
    # Every kernel as often as it runs, added up by its kind.
    seconds = dict.fromkeys(KINDS, 0.0)
    moved = dict.fromkeys(KINDS, 0)
    launches = dict.fromkeys(KINDS, 0)
    for kernel in kernels:
        seconds[kernel.kind] += kernel.times * _kernel_seconds(kernel, rates, seen)
        moved[kernel.kind] += kernel.times * kernel.bytes
        launches[kernel.kind] += kernel.times
    return Forecast(seconds, moved, launches)


def _kernel_seconds(kernel: Kernel, rates: Rates, seen: float) -> float:
    """Eq. (1) for one run of a kernel."""
    if kernel.kind == "slice":
        return 0.0
    flops = kernel.flops * seen if kernel.has_length else kernel.flops
    computing = 0.0
    if flops:
        rate = rates._asdict()[kernel.kind]
        computing = flops / rate
    return max(rates.launch, computing, kernel.bytes / rates.memory)
