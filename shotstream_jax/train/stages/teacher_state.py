"""The arrays of stage 1: what changes, what stays, and what a pass computes with."""

import flax

from shotstream_jax.core.typing import Array, Params
from shotstream_jax.train.state import TrainState


@flax.struct.dataclass
class TeacherState:
    """What changes. text: None where the text encoder is frozen."""

    teacher: TrainState
    text: TrainState | None


@flax.struct.dataclass
class TruthState(TeacherState):
    """The same with the head that says what there is to see.

    A class of its own: without a head, a snapshot has the form that it always had.
    """

    truth: TrainState


@flax.struct.dataclass
class TeacherFixed:
    """What the steps only read.

    teacher: the transformer's parameters that do not move.
    negative: the negative prompt's embedding [1, l, e]; its token ids [1, l] where the text encoder
      is in training.
    """

    teacher: Params
    negative: Array


@flax.struct.dataclass
class TeacherParams:
    """Parameters in the types that a pass computes with.

    text, truth: None where there is none in training.
    """

    teacher: Params
    text: Params | None
    truth: Params | None


def make_state(
    teacher: TrainState, text: TrainState | None, truth: TrainState | None
) -> TeacherState:
    """A state with or without the head."""
    if truth is None:
        return TeacherState(teacher, text)
    return TruthState(teacher, text, truth)


def moves_of(state: TeacherState) -> dict[str, Params]:
    """All that moves, by the names of the state."""
    moves = {"teacher": state.teacher.moves}
    if state.text is not None:
        moves["text"] = state.text.moves
    if isinstance(state, TruthState):
        moves["truth"] = state.truth.moves
    return moves
