"""How fast a run goes, in floating-point operations a second, and of how many (MFU).

    MFU = FLOP of a step, by formula / (its seconds · devices · peak FLOP/s of a device)       (1)

The formulas (train/flops) count what the mathematics needs, not what is computed again to save
memory. The peak is the data sheet's, of dense bfloat16 (core/devices), whatever the run's type.
"""

import dataclasses
from collections.abc import Sequence

import jax

from shotstream_jax.core.devices import device_peak

_UNITS = (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6))


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a run's speed is taken against.

    kind: the devices' name. count: their number. peak: FLOP/s of one; None where no data sheet is
    known, as of processors.
    """

    kind: str
    count: int
    peak: float | None

    def mfu(self, rate: float) -> float | None:
        """Eq. (1) for a rate of all devices together, in FLOP/s; None where no peak is known."""
        if self.peak is None:
            return None
        return rate / (self.count * self.peak)

    def shown(self, rate: float) -> dict[str, str]:
        """The rate as a progress bar shows it: as MFU if there is one, else in FLOP/s."""
        share = self.mfu(rate)
        if share is None:
            return {"speed": f"{flop_text(rate)}/s"}
        return {"MFU": f"{100 * share:.1f}%"}

    def explain(self, flops: Sequence[float]) -> str:
        """A line that says what is shown. flops: of the first steps; they need not be alike."""
        least = min(flops)
        most = max(flops)
        if most == 0:
            return "no formula counts this stage's FLOP: its speed is not shown"
        step = flop_text(most)
        if least < most:
            step = f"{flop_text(least)} to {step}"
        counted = f"a step has {step} by formula (train/flops; without what is computed again)"
        devices = f"{self.count} × {self.kind}"
        if self.peak is None:
            return f"{counted}; no peak is known of {devices}: shown is FLOP/s"
        each = f"{flop_text(self.peak)}/s"
        return f"{counted}; MFU = FLOP / (seconds · {self.count} · {each}, bfloat16, {self.kind})"


def this_machine() -> Machine:
    """All devices of the run."""
    devices = jax.devices()
    peak = device_peak(devices[0])
    return Machine(devices[0].device_kind, len(devices), peak.flops if peak else None)


def flop_text(flops: float) -> str:
    """A number of floating-point operations with three digits and its unit."""
    for name, unit in _UNITS:
        if flops >= unit:
            return f"{flops / unit:.3g} {name}"
    return f"{flops:.3g} FLOP"
