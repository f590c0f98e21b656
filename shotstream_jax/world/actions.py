"""What a character does: a pose as a function of time, a pattern of motion of its own for each action.

Time runs in seconds; `phase`, from 0 to 1, shifts it by that share of the action's period. Lengths are in world units
(a character is about one unit tall), angles in radians, counter-clockwise.
"""

import dataclasses
import math
from collections.abc import Callable

TAU = 2 * math.pi


@dataclasses.dataclass(frozen=True)
class Pose:
    """across, up: shift from where the character stands. turn: of the whole body about `pivot`, a height of it.

    stretch: vertical size; width goes with its inverse root. arms (left, right of the picture): 0 hangs, π points up.
    legs: −1 to 1, one forward, the other back. gaze: where it looks, −1 to 1. awake: its eyes are open.
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
    """What a pose has to know of a body. height: without the hat. half: half its width."""

    height: float
    half: float


def walk(t: float, build: Build) -> Pose:
    """One step each half period; the way itself comes from `pose`."""
    swing = math.sin(TAU * t)
    up, arms = 0.07 * abs(math.cos(TAU * t)), (0.45 + 0.5 * swing, 0.45 - 0.5 * swing)
    return Pose(up=up, turn=-0.07 * swing, legs=swing, arms=arms, gaze=1.0)


def jump(t: float, build: Build) -> Pose:
    """Four fifths of the period in the air, the rest crouching."""
    share = t % 1.0
    if share > 0.8:
        return Pose(stretch=1 - 0.22 * math.sin(math.pi * (share - 0.8) / 0.2), arms=(0.5, 0.5))
    height = 4 * (share / 0.8) * (1 - share / 0.8)
    return Pose(up=0.36 * height, stretch=1 + 0.03 * height, arms=(0.6 + 1.7 * height,) * 2)


def wave(t: float, build: Build) -> Pose:
    """One arm high up, swinging twice a period."""
    return Pose(turn=0.05, arms=(0.35, 2.3 + 0.5 * math.sin(2 * TAU * t)), gaze=0.4)


def dance(t: float, build: Build) -> Pose:
    """From one side to the other, bouncing twice, the arms up in turn."""
    side = math.sin(TAU * t)
    up, arms = 0.1 * abs(math.cos(TAU * t)), (1.5 - 0.9 * side, 1.5 + 0.9 * side)
    return Pose(across=0.16 * side, up=up, turn=-0.32 * side, arms=arms, legs=0.6 * side, gaze=side)


def sleep(t: float, build: Build) -> Pose:
    """On its side, breathing."""
    breath = 1 + 0.06 * math.sin(TAU * t)
    middle = build.height / 2
    return Pose(
        up=build.half / math.sqrt(breath) - middle,
        turn=TAU / 4,
        pivot=middle,
        stretch=breath,
        arms=(0.1, 0.25),
        awake=False,
    )


def spin(t: float, build: Build) -> Pose:
    """Cartwheels on the spot, one a period."""
    middle = build.height / 2
    return Pose(up=0.12, turn=-TAU * t, pivot=middle, arms=(1.9, 1.9), legs=0.8)


@dataclasses.dataclass(frozen=True)
class Action:
    """period: seconds."""

    move: Callable[[float, Build], Pose]
    period: float


ACTIONS = {
    "walk": Action(walk, 0.8),
    "jump": Action(jump, 0.9),
    "wave": Action(wave, 1.0),
    "dance": Action(dance, 1.0),
    "sleep": Action(sleep, 2.0),
    "spin": Action(spin, 1.2),
}


def pose_at(action: str, seconds: float, phase: float, build: Build) -> Pose:
    """The pose at a time of the shot. A walker's way is its shot's matter: see render."""
    chosen = ACTIONS[action]
    return chosen.move(seconds / chosen.period + phase, build)
