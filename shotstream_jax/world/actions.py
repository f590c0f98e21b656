"""What a character does: each action is a pose as a function of time.

Time is counted in periods of the action. Lengths are in world units (a character is about one unit
tall), angles in radians, counter-clockwise.
"""

import dataclasses
import math
from collections.abc import Callable

TAU = 2 * math.pi


@dataclasses.dataclass(frozen=True)
class Pose:
    """How a body is held at one moment.

    across, up: shift from where the character stands.
    turn: rotation of the whole body about the point at height `pivot`.
    stretch: factor of the height; the width is scaled by 1 / √stretch.
    arms: angles of the left and the right arm of the picture; 0 hangs down, π points up.
    legs: −1 to 1, one leg forward and the other back.
    gaze: where the eyes look, −1 (left) to 1 (right).
    awake: the eyes are open.
    """

    across: float = 0.0
    up: float = 0.0
    turn: float = 0.0
    pivot: float = 0.0
    stretch: float = 1.0
    arms: tuple[float, float] = (0.45, 0.45)
    legs: float = 0.0
    gaze: float = 0.0
    awake: bool = True


@dataclasses.dataclass(frozen=True)
class Build:
    """The size of a body. height: without the hat. half: half its width."""

    height: float
    half: float


def _walk(time: float, build: Build) -> Pose:
    """One step in each half of the period. The position is moved by world/render, not here."""
    # −1 to 1: the arms swing against the legs, and the body rises between two steps.
    swing = math.sin(TAU * time)
    left_arm = 0.45 + 0.5 * swing
    right_arm = 0.45 - 0.5 * swing
    return Pose(
        up=0.07 * abs(math.cos(TAU * time)),
        turn=-0.07 * swing,
        legs=swing,
        arms=(left_arm, right_arm),
        gaze=1.0,
    )


def _jump(time: float, build: Build) -> Pose:
    """In the air for four fifths of the period, crouching for the rest."""
    in_air = 0.8
    share = time % 1.0
    if share > in_air:
        # 0 at landing and take-off, 1 in the middle.
        crouch = math.sin(math.pi * (share - in_air) / 0.2)
        return Pose(stretch=1 - 0.22 * crouch, arms=(0.5, 0.5))
    # A parabola: 0 at take-off and landing, 1 in the middle.
    height = 4 * (share / in_air) * (1 - share / in_air)
    arm = 0.6 + 1.7 * height
    return Pose(
        up=0.36 * height,
        stretch=1 + 0.03 * height,
        arms=(arm, arm),
    )


def _wave(time: float, build: Build) -> Pose:
    """One arm held up, swinging twice in a period."""
    raised_arm = 2.3 + 0.5 * math.sin(2 * TAU * time)
    return Pose(
        turn=0.05,
        arms=(0.35, raised_arm),
        gaze=0.4,
    )


def _dance(time: float, build: Build) -> Pose:
    """From one side to the other, bouncing twice, the arms raised in turn."""
    # −1 to 1, from the left to the right and back.
    side = math.sin(TAU * time)
    left_arm = 1.5 - 0.9 * side
    right_arm = 1.5 + 0.9 * side
    return Pose(
        across=0.16 * side,
        up=0.1 * abs(math.cos(TAU * time)),
        turn=-0.32 * side,
        arms=(left_arm, right_arm),
        legs=0.6 * side,
        gaze=side,
    )


def _sleep(time: float, build: Build) -> Pose:
    """Lying on one side, breathing."""
    # The chest rises and falls.
    breath = 1 + 0.06 * math.sin(TAU * time)
    middle = build.height / 2
    # Turned about its middle, the body lies on its side: half its width above the ground.
    half_width = build.half / math.sqrt(breath)
    return Pose(
        up=half_width - middle,
        turn=TAU / 4,
        pivot=middle,
        stretch=breath,
        arms=(0.1, 0.25),
        awake=False,
    )


def _spin(time: float, build: Build) -> Pose:
    """Cartwheels on the spot, one in a period."""
    return Pose(
        up=0.12,
        turn=-TAU * time,
        pivot=build.height / 2,
        arms=(1.9, 1.9),
        legs=0.8,
    )


@dataclasses.dataclass(frozen=True)
class Action:
    """pose: of a time in periods. period: seconds."""

    pose: Callable[[float, Build], Pose]
    period: float


ACTIONS = {
    "walk": Action(_walk, period=0.8),
    "jump": Action(_jump, period=0.9),
    "wave": Action(_wave, period=1.0),
    "dance": Action(_dance, period=1.0),
    "sleep": Action(_sleep, period=2.0),
    "spin": Action(_spin, period=1.2),
}


def pose_at(action: str, seconds: float, phase: float, build: Build) -> Pose:
    """The pose at a time of the shot, for a body of that build.

    action: one of ACTIONS. phase: shifts the time by that share of the action's period, 0 to 1.
    """
    chosen = ACTIONS[action]
    time = seconds / chosen.period + phase
    return chosen.pose(time, build)
