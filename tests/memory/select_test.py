"""Context frames: what is kept of a shot covers every later choice, and no more."""

import numpy as np
import pytest

from shotstream_jax.core.errors import InputError
from shotstream_jax.memory.select import candidates, select_context, shot_intervals


@pytest.mark.parametrize("seed", range(20))
def test_candidates_are_exactly_what_is_asked_for(seed):
    rng = np.random.default_rng(seed)
    budget = int(rng.integers(1, 9))
    lengths = rng.integers(1, 100, 20).tolist()
    starts = np.concatenate([[0], np.cumsum(lengths)])
    asked = {shot: set() for shot in range(20)}
    for m in range(1, 21):
        pick = select_context(shot_intervals(lengths[:m]), budget)
        assert len(pick.frames) == budget
        for frame, shot in zip(pick.frames, pick.shots, strict=True):
            assert starts[shot] <= frame < starts[shot + 1]
            asked[int(shot)].add(int(frame))
    for shot in range(20 - budget):  # the last ones are not asked for everything yet
        assert (
            set(candidates(shot, int(starts[shot]), lengths[shot], budget).tolist()) == asked[shot]
        )


def test_kept_frames_of_the_default_shot():
    counts = [len(candidates(shot, 81 * shot, 81, 6)) for shot in range(8)]
    assert counts == [7, 3, 2, 2, 2, 1, 1, 1]


def test_no_earlier_shot_is_refused():
    with pytest.raises(InputError):
        select_context([], 6)
