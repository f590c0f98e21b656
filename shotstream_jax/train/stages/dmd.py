"""Distribution matching as stages 3 and 4 share it: the networks, and a step of either kind.

The losses are in train/losses/dmd. A step takes the conditions of a batch of shots; stage 3 has
them from data (dmd_intra), stage 4 from what the student has made itself (dmd_inter).
"""

import dataclasses
from typing import Any

import flax

from shotstream_jax.core.typing import Array, Float, Params, PRNGKey
from shotstream_jax.dit.conditions import Conditions
from shotstream_jax.model import compute_params
from shotstream_jax.train.flops import chunks_flops, rollout_flops, teacher_flops, text_flops
from shotstream_jax.train.losses.dmd import (
    DmdDraws,
    DmdModels,
    Scores,
    critic_loss,
    draw_dmd,
    generator_loss,
)
from shotstream_jax.train.network import Network, Origin, Weights
from shotstream_jax.train.recipe import DmdRecipe
from shotstream_jax.train.setup import Setup
from shotstream_jax.train.state import TrainState
from shotstream_jax.train.step import Metrics

STUDENT = Origin("start", "dit")
TEACHER = Origin("teacher", "dit")


@flax.struct.dataclass
class DmdState:
    """What changes: the student, and the fake score."""

    student: TrainState
    fake: TrainState


@flax.struct.dataclass
class DmdFixed:
    """What the steps only read.

    student, fake: parameters of these networks that do not move; none of the fake score where it is
      an adapter, as its base is `real`. real: the teacher's.
    negative [1, l, e]: the embedding of the negative prompt.
    """

    student: Params
    fake: Params
    real: Params
    negative: Array


@dataclasses.dataclass(frozen=True)
class Distillation:
    """The networks of stages 3 and 4, and the two kinds of steps."""

    recipe: DmdRecipe
    setup: Setup

    @property
    def student(self) -> Network:
        """The few-step student."""
        return self.setup.network(STUDENT, self.recipe.trained, self.recipe.optim)

    @property
    def fake(self) -> Network:
        """The score of what the student makes; it starts from the teacher."""
        return self.setup.network(TEACHER, self.recipe.fake, self.recipe.critic)

    @property
    def models(self) -> DmdModels:
        """The modules of the losses."""
        setup = self.setup
        return DmdModels(
            student=setup.student,
            score=setup.teacher,
            steps=setup.steps,
            schedule=setup.schedule,
            config=self.recipe.distillation,
        )

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The weights that a new run begins with."""
        return (STUDENT, TEACHER)

    @property
    def fixed_origins(self) -> tuple[Origin, ...]:
        """The weights that `fixed` is made of: the real score is always among them."""
        return (STUDENT, TEACHER) if self.student.has_frozen else (TEACHER,)

    @property
    def shares_base(self) -> bool:
        """Whether the fake score is the real one with an adapter: one base in memory for both."""
        return self.recipe.fake.what == "lora"

    def initial_state(self, weights: Weights) -> DmdState:
        """Both networks before the first step."""
        return DmdState(
            student=self.student.initial_state(weights, self.setup.key("adapter", 0)),
            fake=self.fake.initial_state(weights, self.setup.key("adapter", 1)),
        )

    def fixed(self, weights: Weights, negative: Array | None) -> DmdFixed:
        """What the steps only read."""
        assert negative is not None
        return DmdFixed(
            student=self.student.frozen(weights),
            fake={} if self.shares_base else self.fake.frozen(weights),
            real=compute_params(weights[TEACHER], self.setup.dtype),
            negative=negative,
        )

    def shardings(self, state: DmdState, fixed: DmdFixed) -> tuple[DmdState, DmdFixed]:
        """Where all arrays lie."""
        mesh = self.setup.mesh
        moving = DmdState(
            student=self.student.state_shardings(mesh, state.student),
            fake=self.fake.state_shardings(mesh, state.fake),
        )
        read_only = DmdFixed(
            student=self.student.frozen_shardings(mesh, fixed.student),
            fake=self.fake.frozen_shardings(mesh, fixed.fake),
            real=self.fake.frozen_shardings(mesh, fixed.real),
            negative=self.setup.whole,
        )
        return moving, read_only

    def student_params(self, state: DmdState, fixed: DmdFixed) -> Params:
        """The student's parameters as a pass computes with them."""
        return self.student.params(state.student.moves, fixed.student)

    def fake_params(self, state: DmdState, fixed: DmdFixed) -> Params:
        """Those of the fake score."""
        return self._fake_params(state.fake.moves, fixed)

    def trained_parts(self, state: DmdState, fixed: DmdFixed) -> dict[str, Params]:
        """The student."""
        return {"dit": self.student.averaged_params(state.student, fixed.student)}

    def generator_step(
        self, state: DmdState, fixed: DmdFixed, conditions: Conditions, key: PRNGKey
    ) -> tuple[DmdState, Metrics, Float[Array, "b f h w c"]]:
        """One optimiser step of the student.

        Returns (new state, metrics, the shots that the student made for it).
        """
        # What is random, and the scores as they are now: only the student moves.
        draws, last = self._draw(key)
        scores = Scores(self.fake_params(state, fixed), fixed.real)

        def loss(moves: Params, rows: tuple[Conditions, DmdDraws]) -> Any:
            """Of micro-batch rows, as train/step wants it."""
            conditions, draws = rows
            student = self.student.params(moves, fixed.student)
            value, (metrics, made) = generator_loss(
                self.models, student, scores, conditions, fixed.negative, draws, last
            )
            return value, (metrics, made.x_0)

        # Draws are rows too, so micro-batches see the same ones as a whole batch.
        pieces = self.recipe.run.accumulate
        rows = (conditions, draws)
        student, metrics, made = self.student.step(state.student, rows, loss, pieces)
        return DmdState(student, state.fake), _named("generator", metrics), made

    def critic_step(
        self, state: DmdState, fixed: DmdFixed, conditions: Conditions, key: PRNGKey
    ) -> tuple[DmdState, Metrics, Float[Array, "b f h w c"]]:
        """One optimiser step of the fake score, on shots that the student makes.

        Returns (new state, metrics, these shots).
        """
        # What is random, and the student as it is now: only the fake score moves.
        draws, last = self._draw(key)
        student = self.student_params(state, fixed)

        def loss(moves: Params, rows: tuple[Conditions, DmdDraws]) -> Any:
            """Of micro-batch rows, as train/step wants it."""
            conditions, draws = rows
            fake = self._fake_params(moves, fixed)
            value, made = critic_loss(self.models, student, fake, conditions, draws, last)
            return value, ({}, made.x_0)

        pieces = self.recipe.run.accumulate
        rows = (conditions, draws)
        fake, metrics, made = self.fake.step(state.fake, rows, loss, pieces)
        return DmdState(state.student, fake), _named("critic", metrics), made

    def losses(
        self, state: DmdState, fixed: DmdFixed, conditions: Conditions, key: PRNGKey
    ) -> tuple[Metrics, Float[Array, "b f h w c"]]:
        """Both losses without a step, and the shots that the student made."""
        draws, last = self._draw(key)
        student = self.student_params(state, fixed)
        fake = self.fake_params(state, fixed)
        scores = Scores(fake, fixed.real)
        generator, (_, made) = generator_loss(
            self.models, student, scores, conditions, fixed.negative, draws, last
        )
        critic, _ = critic_loss(self.models, student, fake, conditions, draws, last)
        return {"generator/loss": generator, "critic/loss": critic}, made.x_0

    def flops(self, generator: bool) -> float:
        """Floating-point operations of a generator's or a critic's step."""
        setup = self.setup
        cfg = setup.preset.dit
        memory = setup.preset.memory
        tokens = setup.frame_tokens
        # Both kinds of steps let the student make the shots first.
        made = rollout_flops(cfg, memory, setup.frames, tokens, len(setup.steps.nominal))
        score = teacher_flops(cfg, memory, setup.frames, tokens, memory.captions)
        if not generator:
            # The fake score forward, and twice as much backward.
            return setup.run.batch * (made + 3 * score)
        # Three passes of scores; the replay forward and backward.
        replay = chunks_flops(cfg, memory, setup.frames, tokens)
        replay += cfg.layers * text_flops(cfg, memory.captions)
        return setup.run.batch * (made + 3 * score + 3 * replay)

    def _fake_params(self, moves: Params, fixed: DmdFixed) -> Params:
        """The fake score's parameters as a function of what moves."""
        base = fixed.real if self.shares_base else fixed.fake
        return self.fake.params(moves, base)

    def _draw(self, key: PRNGKey) -> tuple[DmdDraws, Array]:
        shape = self.setup.target_shape
        return draw_dmd(key, self.models, shape, self.recipe.dropout)


def _named(network: str, metrics: Metrics) -> Metrics:
    """Metrics under the name of the network that has moved."""
    return {f"{network}/{name}": value for name, value in metrics.items()}
