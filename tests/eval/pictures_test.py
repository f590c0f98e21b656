"""Cuts, and figures that need no model."""

import math

import numpy as np
import pytest

from shotstream_jax.eval.cuts import find_cuts, shot_cut_accuracy
from shotstream_jax.eval.pictures import histogram_overlap, motion, ssim, within_and_between
from shotstream_jax.world.plot import WorldConfig
from shotstream_jax.world.source import WorldSource


@pytest.mark.parametrize(
    "told, found, frames, nsd",
    [
        ([20, 40], [20, 40], 60, 0),
        ([20, 40], [21], 60, (1 + 20) / 60),
        ([20, 40], [], 60, 40 / 60),
        ([20, 40], [18, 43], 60, 5 / 60),
        ([20, 40], [20, 30, 40], 60, 20 / 60),  # one too many
        ([], [], 30, 0),
        ([], [10], 30, 1),  # the only shot has 30 frames
        ([10], [59], 60, 49 / 60),  # cheaper than one missed and one too many
        ([30], [2, 31], 60, (1 + 30) / 60),
        ([10, 20], [19], 30, (1 + 10) / 30),  # paired with the nearer one
    ],
)
def test_shot_cut_accuracy(told, found, frames, nsd):
    assert shot_cut_accuracy(told, found, frames) == pytest.approx(math.exp(-nsd))


def test_cuts_are_found_where_the_place_changes():
    pytest.importorskip("scenedetect")
    source = WorldSource(WorldConfig("simple", 8, (5,), (21,)), 32, 48, stories=4, split="test")
    wanted = missed = 0
    for index in range(4):
        film, shots = source[index], source.story(index).shots
        found = find_cuts(film.frames)
        assert set(found) <= {21, 42, 63, 84}
        for k in range(1, 5):
            if shots[k].place != shots[k - 1].place:
                wanted, missed = wanted + 1, missed + (21 * k not in found)
    assert wanted > 3 and missed == 0


def noise(seed, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (20, 30, 3), np.uint8)


def test_histogram():
    assert histogram_overlap(noise(0), noise(0)) == 1
    assert histogram_overlap(noise(0), noise(0)[::-1]) == 1  # colours, not places
    assert histogram_overlap(noise(0, 0, 64), noise(0, 64, 128)) == 0
    half = noise(0, 0, 64)
    half[:10] = 255
    assert histogram_overlap(half, noise(1, 0, 64)) == pytest.approx(0.5)


def test_ssim_of_windows_counted_by_hand():
    a, b = noise(0), noise(1)
    assert ssim(a, a) == pytest.approx(1)
    assert abs(ssim(a, b)) < 0.1
    scores = []
    for channel in range(3):
        for y in range(14):
            for x in range(24):
                p, q = (v[y : y + 7, x : x + 7, channel].astype(float) for v in (a, b))
                cov = ((p - p.mean()) * (q - q.mean())).mean()
                c1, c2 = 6.5025, 58.5225
                top = (2 * p.mean() * q.mean() + c1) * (2 * cov + c2)
                scores.append(
                    top / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (p.var() + q.var() + c2))
                )
    assert ssim(a, b) == pytest.approx(np.mean(scores))


def test_motion():
    still = np.zeros((4, 8, 8, 3), np.uint8)
    assert motion(still) == 0
    still[2:] = 51
    assert motion(still) == pytest.approx(0.2 / 3)
    assert motion(still[:1]) == 0


def test_within_and_between():
    first, second = np.stack([noise(0)] * 3), np.stack([noise(1)] * 3)
    found = within_and_between([first, first, second])
    np.testing.assert_allclose(found["ssim_within"], 1)
    np.testing.assert_allclose(found["ssim_between"][:2], [np.nan, 1])
    assert found["ssim_between"][2] < 0.1
    np.testing.assert_array_equal(found["motion"], 0)
