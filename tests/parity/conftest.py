"""How near is near enough: the one tolerance of all parity tests."""

from collections.abc import Callable

import numpy as np
import pytest

TOLERANCE = 1e-4


@pytest.fixture
def close(record_property) -> Callable[..., None]:
    """close(got, want): same shape, and the absolute error within the tolerance, or a case's own.

    The error is recorded for the summary.
    """

    def check(got, want, what: str = "", tolerance: float = TOLERANCE) -> None:
        got, want = np.asarray(got), np.asarray(want)
        assert got.shape == want.shape, f"{what}: shape {got.shape} for {want.shape}"
        assert np.isfinite(got).all(), f"{what}: not finite"
        error = float(np.max(np.abs(got.astype(np.float64) - want), initial=0.0))
        record_property("output", error)
        assert error <= tolerance, f"{what}: error {error:.2e}"

    return check


@pytest.fixture
def close_gradients(record_property) -> Callable[..., None]:
    """close_gradients(got, want): the same tensors by name.

    The error of each, relative to its largest value, is within the tolerance.
    """

    def check(got: dict, want: dict) -> None:
        assert got.keys() == want.keys()
        errors = {}
        for name, reference in want.items():
            scale = np.abs(reference).max()
            error = np.abs(got[name] - reference).max()
            errors[name] = float(error / scale) if scale > 0 else float(error)
        worst = max(errors, key=errors.get)
        record_property("gradient", errors[worst])
        assert errors[worst] <= TOLERANCE, f"{worst}: {errors[worst]:.2e} of its maximum"

    return check
