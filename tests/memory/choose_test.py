"""Which earlier shots are chosen by their likeness to the next one."""

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.memory.choose import check_rule, choose_shots, likeness, pick_among
from shotstream_jax.memory.select import candidates, select_context, shot_intervals


def test_what_all_prompts_share_tells_nothing():
    """A frog's shot is most like the frog's, though the story's words are most of every prompt."""
    story, frog, bear, meadow = np.eye(4)
    earlier = np.stack([9 * story + frog, 9 * story + bear, 9 * story + bear + meadow])
    alike = likeness(earlier, 9 * story + frog + meadow)
    assert alike.argmax() == 0 and alike.argmin() == 1
    assert np.all(np.abs(alike) <= 1 + 1e-9)
    # How long a prompt is does not count.
    np.testing.assert_allclose(likeness(3 * earlier, 9 * story + frog + meadow), alike)


@pytest.mark.parametrize("kind", [np.zeros, np.ones])
def test_shots_told_alike_are_equally_like(kind):
    assert likeness(kind((3, 5)), kind(5)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("alike", "budget", "chosen"),
    [
        ([0.9, 0.1, 0.8, 0.2, -1], 3, [0, 2, 4]),  # the last one always
        ([0.1, 0.5, 0.5, 0.5, 0.5, 0.2], 3, [3, 4, 5]),  # of equal ones the latest
        ([0.9, 0.1, 0.8], 1, [2]),
        ([0.3, 0.2], 6, [0, 1]),
        ([0.3], 6, [0]),
    ],
)
def test_the_last_shot_and_the_most_alike_are_chosen(alike, budget, chosen):
    assert choose_shots(np.array(alike), budget).tolist() == chosen


@pytest.mark.parametrize("seed", range(10))
def test_frames_of_chosen_shots_are_kept_of_every_shot(seed):
    """Whatever is chosen of more than C shots is among the candidates of the paper's rule."""
    rng = np.random.default_rng(seed)
    budget = int(rng.integers(1, 8))
    lengths = rng.integers(1, 60, 20).tolist()
    intervals = shot_intervals(lengths)
    numbers = np.sort(rng.permutation(20)[:budget])
    pick = pick_among([intervals[number] for number in numbers], numbers.tolist(), budget)
    assert pick.shots.tolist() == numbers.tolist()
    for frame, shot in zip(pick.frames, pick.shots, strict=True):
        first, stop = intervals[shot]
        assert frame in candidates(int(shot), first, stop - first, budget)


@pytest.mark.parametrize("shots", range(1, 8))
def test_chosen_latest_shots_are_the_paper_s(shots):
    intervals = shot_intervals([5] * shots)
    latest = choose_shots(np.arange(shots), 4).tolist()
    pick = pick_among([intervals[number] for number in latest], latest, 4)
    for mine, paper in zip(pick, select_context(intervals, 4), strict=True):
        np.testing.assert_array_equal(mine, paper)


@pytest.mark.parametrize("rule", ["latest", "", None, 3, ["paper"]])
def test_an_unknown_rule_is_named(rule):
    with pytest.raises(InputError, match="is no rule: choose one of paper, caption"):
        check_rule(rule)
