"""Earlier shots that are chosen by their likeness to the next one, in place of the latest ones.

Pure numpy, on the host. Nothing of it is learned: the transformer sees C context frames with the
phases of their shots, whichever those are.

    paper      the last C shots contribute (memory/select)
    caption    C shots contribute: the last one, and those whose captions are most like the next's
    keys       the same, by the transformer's own keys (generate/likeness)

Inside the chosen shots the paper's rule picks the frames, as if there were no others: with more
than C shots behind, one frame each, which is kept of every shot anyway. With fewer both rules are
one. A rule that chooses remembers more shots than the last C, a fixed number of them.

Worked example, C = 3, 20 shots behind, the new caption most like those of shots 7 and 12: the
context is the first frame each of shots 7, 12 and 19.
"""

from collections.abc import Sequence

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.memory.select import ContextPick, Interval, select_context

PAPER = "paper"
CAPTION = "caption"
KEYS = "keys"
RULES = (PAPER, CAPTION, KEYS)
# How many shots are remembered to choose from, for each context frame.
_SHOTS_A_FRAME = 4


def check_rule(rule: object) -> str:
    """One of RULES. Raises InputError for anything else."""
    if not isinstance(rule, str) or rule not in RULES:
        raise InputError(f"memory {rule!r:.40} is no rule: choose one of {', '.join(RULES)}")
    return rule


def remembered_shots(rule: str, budget: int) -> int:
    """How many of its last shots a story remembers under a rule, with C = `budget` frames."""
    return budget if rule == PAPER else _SHOTS_A_FRAME * budget


def likeness(earlier: np.ndarray, new: np.ndarray) -> np.ndarray:
    """How like the new shot each earlier one is, from −1 to 1: [m, e] and [e] → [m].

    The cosine, once what all of them share is taken away: every prompt of a story has the story's
    words in it, which tell nothing.
    """
    directions = [_unit(vector) for vector in (*earlier, new)]
    shared = np.mean(directions, axis=0)
    of_new = _unit(directions[-1] - shared)
    return np.array([_unit(direction - shared) @ of_new for direction in directions[:-1]])


def _unit(vector: np.ndarray) -> np.ndarray:
    """A vector of length 1 in this direction; zeros stay zeros."""
    vector = vector.astype(np.float64)
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def choose_shots(alike: np.ndarray, budget: int) -> np.ndarray:
    """Which of the earlier shots contribute, as positions in order.

    alike: [m], how like the new shot each is, oldest first. The last one always contributes; of two
    that are equally like the later one does.
    """
    last = len(alike) - 1
    # Behind it the others, most alike first.
    others = np.lexsort((-np.arange(last), -alike[:last]))
    return np.sort(np.append(last, others)[:budget])


def pick_among(shots: Sequence[Interval], numbers: Sequence[int], budget: int) -> ContextPick:
    """The context frames, when only these shots contribute, whose numbers need not follow.

    shots: their [first, stop) frames, in order. budget: the number C of context frames.
    """
    pick = select_context(shots, budget)
    return ContextPick(pick.frames, np.asarray(numbers)[pick.shots])
