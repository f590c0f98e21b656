"""Films in high dynamic range (PQ and HLG) as pictures for ordinary screens.

Display light by ITU-R BT.2100, in units of the reference white of BT.2408, 203 candela/m²:

    PQ:   L(E) = 10000/203 · (max(p − c1, 0) / (c2 − c3 p))^(1/m1),  p = E^(1/m2)           (1)
    HLG:  s(E) = E²/3 up to E = 1/2, (exp((E − c)/a) + b)/12 above                          (2)
          L = 1000/203 · Y^(γ − 1) s,  Y the luminance of the scene light s, γ = 1.2        (3)

Highlights are compressed by one curve on the largest of the three colours, so that hues stay:

    t(x) = x up to k = 3/4,  1 − (1 − k)²/(x + 1 − 2k) above                                (4)

Then BT.2020's colours become BT.709's, and light becomes a signal by a screen's gamma of 2.4.
"""

import numpy as np

from shotstream_jax.core.typing import Float, UInt8, UInt16, typechecked

PQ = 16  # codes of the transfer characteristic (ITU-T H.273)
HLG = 18

_WHITE = 203.0  # candela/m²
_KNEE = 0.75
_GAMMA = 2.4
# Linear RGB of BT.2020 → that of BT.709 (ITU-R BT.2087).
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)


@typechecked
def tone_mapped(
    picture: UInt16[np.ndarray, "y x 3"], transfer: int, is_wide: bool
) -> UInt8[np.ndarray, "y x 3"]:
    """An HDR picture for an ordinary screen.

    transfer: PQ or HLG. is_wide: its primaries are BT.2020's, not BT.709's.
    """
    signal = picture.astype(np.float32) / 65535
    light = _pq_light(signal) if transfer == PQ else _hlg_light(signal)
    # Equation 4, as a factor for all three colours.
    largest = light.max(axis=-1, keepdims=True)
    light = light * (_compressed(largest) / np.maximum(largest, 1e-6))
    if is_wide:
        light = light @ _TO_709.T
    shown = np.clip(light, 0, 1) ** (1 / _GAMMA)
    return np.round(255 * shown).astype(np.uint8)


def _pq_light(signal: Float[np.ndarray, "y x 3"]) -> Float[np.ndarray, "y x 3"]:
    """Equation 1."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    p = signal ** (1 / m2)
    return 10000 / _WHITE * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)


def _hlg_light(signal: Float[np.ndarray, "y x 3"]) -> Float[np.ndarray, "y x 3"]:
    """Equations 2 and 3."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ _LUMINANCE_2020
    return 1000 / _WHITE * luminance[..., None] ** 0.2 * scene


def _compressed(x: Float[np.ndarray, "y x 1"]) -> Float[np.ndarray, "y x 1"]:
    """Equation 4."""
    above = 1 - (1 - _KNEE) ** 2 / (np.maximum(x, _KNEE) + 1 - 2 * _KNEE)
    return np.where(x <= _KNEE, x, above)
