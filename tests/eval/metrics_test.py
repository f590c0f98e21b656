"""Figures from readings whose answers are known."""

import dataclasses

import numpy as np
import pytest

from shotstream_jax.eval import metrics
from shotstream_jax.eval.labels import Labels
from shotstream_jax.eval.metrics import FirstAppearances
from shotstream_jax.world.plot import PlotShot, Role
from tests.eval.material import FRAMES, changed, right, story

SIMPLE = Labels("simple")
BEAR, FROG = 0, 1


@pytest.mark.parametrize("subset", ["simple", "full"])
def test_what_was_drawn_has_full_marks(subset):
    labels = Labels(subset)
    for index in range(20):
        told = story(subset, index)
        figures = metrics.story_figures(labels, right(labels, told), told.shots)
        for name in ("who", "where", "action", "steady"):
            np.testing.assert_array_equal(figures[name], 1, name)
        for name in ("appearance", "layout"):
            assert np.isnan(figures[name][0])  # nothing was shown before
            assert set(figures[name][np.isfinite(figures[name])]) <= {1.0}
        assert np.isfinite(figures["appearance"][-1])  # the last shot shows someone again
        assert np.isnan(figures["camera"]).all() == (subset == "simple")


def bear_story():
    """The bear in the meadow, both there, the frog on the beach; everything read rightly."""
    plain = story()
    part = lambda name, action: Role(name, action, 0.0, 1, 0.0, 0.0)  # noqa: E731
    camera, frames = plain.shots[0].camera, FRAMES
    shots = (
        PlotShot("meadow", (part("bear", "walk"),), camera, frames),
        PlotShot("meadow", (part("bear", "jump"), part("frog", "dance")), camera, frames),
        PlotShot("beach", (part("frog", "sleep"),), camera, frames),
    )
    look, layout = next(iter(plain.looks.values())), next(iter(plain.layouts.values()))
    looks = {
        "bear": dataclasses.replace(look, accent="red"),
        "frog": dataclasses.replace(look, accent="blue"),
    }
    told = dataclasses.replace(
        plain, shots=shots, looks=looks, layouts={"meadow": layout, "beach": layout}
    )
    return told, right(SIMPLE, told)


def figures(told, readings):
    return metrics.story_figures(SIMPLE, readings, told.shots)


def with_accent(reading, n, accent):
    accents = reading.shot["accent"].copy()
    accents[n] = accent
    return changed(reading, "accent", accents)


def test_the_worked_story():
    found = figures(*bear_story())
    np.testing.assert_array_equal(found["appearance"], [np.nan, 1, 1])
    np.testing.assert_array_equal(found["layout"], [np.nan, 1, np.nan])


def test_another_hat_is_not_kept():
    told, readings = bear_story()
    readings[1] = with_accent(readings[1], BEAR, 3)
    np.testing.assert_array_equal(figures(told, readings)["appearance"], [np.nan, 0, 1])
    # The frog's first appearance is what counts, whatever was drawn there.
    told, readings = bear_story()
    readings[1] = with_accent(readings[1], FROG, 3)
    np.testing.assert_array_equal(figures(told, readings)["appearance"], [np.nan, 1, 0])


def test_who_is_missing_is_not_judged_for_looks():
    told, readings = bear_story()
    gone = readings[2].present.copy()
    gone[:, FROG] = 0
    readings[2] = dataclasses.replace(readings[2], present=gone)
    found = figures(told, readings)
    np.testing.assert_array_equal(found["who"], [1, 1, 0])
    np.testing.assert_array_equal(found["action"], [1, 1, 0])
    np.testing.assert_array_equal(found["appearance"], [np.nan, 1, np.nan])


def test_one_too_many_is_wrong():
    told, readings = bear_story()
    more = readings[0].present.copy()
    more[:, FROG] = 1
    readings[0] = dataclasses.replace(readings[0], present=more)
    found = figures(told, readings)
    np.testing.assert_array_equal(found["who"], [0, 1, 1])
    # The frog was not told there: its first appearance is still that of the second shot.
    np.testing.assert_array_equal(found["appearance"], [np.nan, 1, 1])


def test_half_of_the_actions():
    told, readings = bear_story()
    actions = readings[1].shot["action"].copy()
    actions[BEAR] = SIMPLE.actions.index("sleep")
    readings[1] = changed(readings[1], "action", actions)
    np.testing.assert_array_equal(figures(told, readings)["action"], [1, 0.5, 1])


@pytest.mark.parametrize("what", ["side", "variant"])
def test_another_landmark_is_not_kept(what):
    told, readings = bear_story()
    readings[1] = changed(readings[1], what, 1 - min(int(readings[1].shot[what]), 1))
    np.testing.assert_array_equal(figures(told, readings)["layout"], [np.nan, 0, np.nan])


def test_another_place_is_wrong_and_its_layout_not_judged():
    told, readings = bear_story()
    readings[1] = changed(readings[1], "place", SIMPLE.place_choices["place"].index("moon"))
    found = figures(told, readings)
    np.testing.assert_array_equal(found["where"], [1, 0, 1])
    np.testing.assert_array_equal(found["layout"], [np.nan, np.nan, np.nan])


def test_camera():
    labels, told = Labels("full"), story("full")
    readings = right(labels, told)
    readings[0] = changed(readings[0], "move", (readings[0].shot["move"] + 1) % 5)
    found = metrics.story_figures(labels, readings, told.shots)["camera"]
    np.testing.assert_array_equal(found, [0.5, 1, 1, 1, 1])


def test_steady_counts_frames():
    told, readings = bear_story()
    accents = readings[0].frames["accent"].copy()
    accents[:2, BEAR] += 1
    accents[:, FROG] += 1  # is not there
    readings[0] = dataclasses.replace(
        readings[0], frames=dict(readings[0].frames) | {"accent": accents}
    )
    np.testing.assert_allclose(figures(told, readings)["steady"], [1 - 2 / FRAMES, 1, 1])


def test_memory_is_of_first_appearances():
    told, readings = bear_story()
    known = metrics.first_appearances(SIMPLE, readings, told.shots)
    assert known[0] == FirstAppearances()
    assert set(known[1].appearances) == {BEAR} and set(known[2].appearances) == {BEAR, FROG}
    assert len(known[3].layouts) == 2
    swapped = FirstAppearances({BEAR: (4, 0), FROG: (4, 0)}, known[3].layouts)
    assert (
        np.nansum(metrics.persistence(SIMPLE, readings, told.shots, [swapped] * 3)["appearance"])
        == 0
    )


def test_figures_by_number_of_characters():
    """The worked story has both in its second shot only, where the bear's hat is another one."""
    told, readings = bear_story()
    readings[1] = with_accent(readings[1], BEAR, SIMPLE.character_choices["accent"].index("yellow"))
    found = metrics.by_number_of_characters(figures(told, readings), told.shots)
    np.testing.assert_array_equal(found["who_of_one"], [1, np.nan, 1])
    np.testing.assert_array_equal(found["who_of_two"], [np.nan, 1, np.nan])
    np.testing.assert_array_equal(found["appearance_of_one"], [np.nan, np.nan, 1])
    np.testing.assert_array_equal(found["appearance_of_two"], [np.nan, 0, np.nan])


def test_chance_is_of_the_pictures():
    told, readings = bear_story()
    alike = metrics.chance_levels(SIMPLE, [(readings, told.shots), (readings, told.shots)])
    assert alike["appearance"] == 1.0 and alike["layout"] == 1.0  # everyone always looks the same
    other = [with_accent(with_accent(r, BEAR, 3), FROG, 4) for r in readings]
    assert (
        metrics.chance_levels(SIMPLE, [(readings, told.shots), (other, told.shots)])["appearance"]
        == 0.0
    )


def test_chance_over_many_stories_is_that_of_the_draws():
    stories = [story(index=i) for i in range(60)]
    found = metrics.chance_levels(SIMPLE, [(right(SIMPLE, s), s.shots) for s in stories])
    assert abs(found["appearance"] - 1 / 5) < 0.05  # five colours
    assert abs(found["layout"] - 1 / 6) < 0.08  # two sides, three colours
    assert abs(found["where"] - 1 / 4) < 0.05


def test_bootstrap_of_a_coin():
    """One fair coin in each of n stories: the interval is p ± about 1.96·√(p(1 − p)/n)."""
    values = np.tile([0.0, 1.0], 200)[:, None]
    found = metrics.bootstrap(values)
    assert (found.value, found.count) == (0.5, 400)
    width = 1.96 * 0.5 / 20
    np.testing.assert_allclose([found.low, found.high], [0.5 - width, 0.5 + width], atol=0.008)


def test_bootstrap_draws_stories_not_shots():
    """Five equal shots of a story say no more than one."""
    coin = np.tile([0.0, 1.0], 50)[:, None]
    one, five = metrics.bootstrap(coin), metrics.bootstrap(coin.repeat(5, axis=1))
    np.testing.assert_allclose([one.low, one.high], [five.low, five.high])


def test_bootstrap_leaves_out_what_could_not_be_judged():
    values = np.array([[np.nan, 1.0], [np.nan, np.nan], [0.0, 1.0]])
    found = metrics.bootstrap(values)
    assert found.value == pytest.approx(2 / 3) and found.count == 3
    assert np.isnan(metrics.bootstrap(np.full((3, 2), np.nan)).value)


def test_drift():
    values = np.array(
        [[np.nan, 1.0, 0.5, 0.0], [np.nan, 1.0, 0.5, 0.5], [np.nan, np.nan, 1.0, 0.25]]
    )
    assert metrics.drift(values) == pytest.approx(-0.75)
    found = metrics.bootstrap(values, metrics.drift)
    assert found.low <= found.value <= found.high <= 0
