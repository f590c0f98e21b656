"""A story as pictures, and the truth about each of them."""

import dataclasses

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Int, UInt8, typechecked
from shotstream_jax.world import figure, places
from shotstream_jax.world.actions import pose_at
from shotstream_jax.world.camera import View, view_at
from shotstream_jax.world.cast import CHARACTERS
from shotstream_jax.world.draw import Canvas, Pen
from shotstream_jax.world.figure import Look
from shotstream_jax.world.places import PLACES, Layout
from shotstream_jax.world.plot import Part
from shotstream_jax.world.story import Story

MOST_PARTS = 2
SMALLEST = 8  # pixels

Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A character in a frame. box: left, top, right, bottom in pixels, the last two not included."""

    name: str
    look: Look
    action: str
    direction: int
    box: Box


@dataclasses.dataclass(frozen=True)
class FrameTruth:
    """shot: its number from 0. distance, move: the camera's. view: where it is. seen: from left to right."""

    shot: int
    place: str
    layout: Layout
    distance: str
    move: str
    view: View
    seen: tuple[Seen, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Film:
    """A drawn story.

    frames: RGB. boxes: of each frame's characters as in Seen, in the order of the shot's parts; zeros for none, or
    for one that cannot be seen. A box spans all that is drawn of a character, though another one may stand before it.
    """

    story: Story
    frames: UInt8[np.ndarray, "p y x 3"]
    boxes: Int[np.ndarray, "p parts 4"]

    def truth(self, frame: int) -> FrameTruth:
        """Who, where and how in a frame."""
        number, share = _place_in(self.story, frame)
        shot = self.story.shots[number]
        seen = tuple(
            Seen(
                part.name,
                self.story.looks[part.name],
                part.action,
                part.direction,
                tuple(box.tolist()),
            )
            for part, box in zip(shot.parts, self.boxes[frame], strict=False)
            if box.any()
        )
        view, layout = view_at(shot.camera, share), self.story.layouts[shot.place]
        return FrameTruth(
            number, shot.place, layout, shot.camera.distance, shot.camera.move, view, seen
        )


def check_size(height: int, width: int) -> None:
    """Refuses a picture in which nothing could be told apart."""
    if min(height, width) < SMALLEST:
        raise InputError(
            f"a picture of {height}x{width} pixels is too small: each side must have {SMALLEST}"
        )


def render_story(story: Story, height: int, width: int) -> Film:
    """All frames of a story, height × width pixels. Raises InputError if that is too small."""
    shots = [render_shot(story, number, height, width) for number in range(len(story.shots))]
    frames, boxes = zip(*shots, strict=True)
    return Film(story, np.concatenate(frames), np.concatenate(boxes))


@typechecked
def render_shot(
    story: Story, number: int, height: int, width: int
) -> tuple[UInt8[np.ndarray, "p y x 3"], Int[np.ndarray, "p parts 4"]]:
    """The frames and boxes of a shot, numbered from 0."""
    check_size(height, width)
    shot = story.shots[number]
    canvas, backdrop, before = Canvas(height, width), None, None
    frames = np.empty((shot.frames, height, width, 3), np.uint8)
    boxes = np.zeros((shot.frames, MOST_PARTS, 4), np.int32)
    for i in range(shot.frames):
        share = i / max(shot.frames - 1, 1)
        view = view_at(shot.camera, share)
        pen = Pen(canvas, view.frame(height, width))
        if view != before:  # a camera that stands still sees the same place
            places.draw(pen, PLACES[shot.place], story.layouts[shot.place], view.centre)
            backdrop, before = canvas.picture.copy(), view
        else:
            canvas.picture[:] = backdrop
        for slot, part in enumerate(shot.parts):
            boxes[i, slot] = _draw_part(
                pen, part, story.looks[part.name], share, i / story.config.fps
            )
        frames[i] = canvas.to_uint8()
    return frames, boxes


def _draw_part(pen: Pen, part: Part, look: Look, share: float, seconds: float) -> Box:
    character = CHARACTERS[part.name]
    pose = pose_at(part.action, seconds, part.phase, character.build)
    spot = pen.moved(part.at + part.direction * part.way * (share - 0.5), 0.0)
    own = spot.scaled(part.direction, 1.0)
    figure.shadow(own, character, pose)
    pen.canvas.start_matte()
    figure.draw(own, character, look, pose)
    box = _extent(pen.canvas.end_matte() > 0.5)
    if not pose.awake:
        head = -part.direction * 0.35 * character.build.height
        figure.dream(spot, head, 2 * character.build.half, seconds + 2 * part.phase)
    return box


def _extent(mask: np.ndarray) -> Box:
    """The box of a mask [y, x]; zeros if nothing is in it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        if len(rows)
        else (0, 0, 0, 0)
    )


def _place_in(story: Story, frame: int) -> tuple[int, float]:
    """The shot that a frame belongs to, and its share of it."""
    for number, (first, stop) in enumerate(story.intervals):
        if first <= frame < stop:
            return number, (frame - first) / max(stop - first - 1, 1)
    raise InputError(f"the story has {story.intervals[-1][1]} frames, not a frame {frame}")
