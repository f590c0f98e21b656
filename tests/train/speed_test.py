"""The speed that a run tells: its formula, its peak, its device."""

import jax
import pytest

from shotstream_jax.core.devices import PEAKS, kind_peak
from shotstream_jax.train.run.speed import Machine, flop_text, this_machine

POD = Machine("TPU v5", 8, 459e12)
LAPTOP = Machine("cpu", 2, None)


def test_mfu_is_the_share_of_all_devices():
    # 3.587 PFLOP in 2 seconds, of 8 · 459 TFLOP/s.
    rate = 3.587e15 / 2
    assert POD.mfu(rate) == pytest.approx(0.4884, abs=1e-4)
    assert POD.shown(rate) == {"MFU": "48.8%"}
    assert LAPTOP.mfu(1e10) is None and LAPTOP.shown(1.234e10) == {"speed": "12.3 GFLOP/s"}


@pytest.mark.parametrize(
    "machine, flops, line",
    [
        (
            POD,
            [3.587e15] * 3,
            "a step has 3.59 PFLOP by formula (train/flops; without what is computed again); "
            "MFU = FLOP / (seconds · 8 · 459 TFLOP/s, bfloat16, TPU v5)",
        ),
        (
            LAPTOP,
            [9e9, 12e9, 9e9],
            "a step has 9 GFLOP to 12 GFLOP by formula (train/flops; without what is computed "
            "again); no peak is known of 2 × cpu: shown is FLOP/s",
        ),
        (LAPTOP, [0.0], "no formula counts this stage's FLOP: its speed is not shown"),
    ],
)
def test_the_first_line_explains_it(machine, flops, line):
    assert machine.explain(flops) == line


def test_this_machine():
    assert this_machine() == Machine("cpu", len(jax.devices()), None)


@pytest.mark.parametrize(
    "kind, tflops",
    [("TPU v5", 459), ("TPU v5 lite", 197), ("TPU v6 lite", 918), ("TPU7x", 1153.5)],
)
def test_the_peak_is_that_of_a_device(kind, tflops):
    """Of half a chip on TPU7x, which shows a chip as two devices."""
    assert kind_peak(kind) == next(p for p in PEAKS.values() if p.flops == tflops * 1e12)


@pytest.mark.parametrize(
    "flops, text",
    [(0.0, "0 FLOP"), (999.0, "999 FLOP"), (1.5e6, "1.5 MFLOP"), (3.587e15, "3.59 PFLOP")],
)
def test_a_number_of_operations_has_its_unit(flops, text):
    assert flop_text(flops) == text
