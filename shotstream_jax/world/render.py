"""A story as pictures, and the truth about each of them."""

import dataclasses
from typing import NamedTuple

import numpy as np

from shotstream_jax.core.errors import InputError
from shotstream_jax.core.typing import Bool, Int, UInt8, typechecked
from shotstream_jax.world import figure
from shotstream_jax.world.actions import pose_at
from shotstream_jax.world.camera import View, view_at
from shotstream_jax.world.characters import CHARACTERS
from shotstream_jax.world.draw import Canvas, Pen
from shotstream_jax.world.figure import Look
from shotstream_jax.world.places import PLACES, Layout, draw_place
from shotstream_jax.world.plot import SUBSETS, Role
from shotstream_jax.world.story import WorldStory

MAX_ROLES = 2  # characters in a shot
MIN_SIDE = 8  # pixels

Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class VisibleCharacter:
    """A character in a frame.

    box: left, top, right, bottom in pixels, the last two not included.
    """

    name: str
    look: Look
    action: str
    direction: int
    box: Box


@dataclasses.dataclass(frozen=True)
class FrameTruth:
    """What there is to see in a frame.

    shot: number of the shot, from 0.
    distance, move: of the camera.
    view: what the camera sees in this frame.
    visible: from left to right.
    """

    shot: int
    place: str
    layout: Layout
    distance: str
    move: str
    view: View
    visible: tuple[VisibleCharacter, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Film:
    """A drawn story.

    frames: RGB.
    boxes: of each frame's characters as in VisibleCharacter, in the order of the shot's roles;
        zeros where there is no character, or none that is visible. A box spans all that is drawn
        of a character, though another one may stand before it.
    figures: 1 + index in CHARACTERS of the figure that each pixel shows, 0: none.
    landmark: whether each pixel shows the landmark.

    A film that a model made has no figures and no landmark: None.
    """

    story: WorldStory
    frames: UInt8[np.ndarray, "p y x 3"]
    boxes: Int[np.ndarray, "p roles 4"]
    figures: UInt8[np.ndarray, "p y x"] | None = None
    landmark: Bool[np.ndarray, "p y x"] | None = None

    def truth(self, frame: int) -> FrameTruth:
        """Who, where and how in a frame.

        Raises InputError for a frame that the film does not have.
        """
        # The shot says what is there, the frame's share of it how the camera sees it.
        number, share = _find_shot(self.story, frame)
        shot = self.story.shots[number]

        visible = []
        # There are always as many boxes as a shot can have roles.
        for role, box in zip(shot.roles, self.boxes[frame], strict=False):
            if not box.any():
                continue
            character = VisibleCharacter(
                name=role.name,
                look=self.story.looks[role.name],
                action=role.action,
                direction=role.direction,
                box=tuple(box.tolist()),
            )
            visible.append(character)

        return FrameTruth(
            shot=number,
            place=shot.place,
            layout=self.story.layouts[shot.place],
            distance=shot.camera.distance,
            move=shot.camera.move,
            view=view_at(shot.camera, share),
            visible=tuple(visible),
        )


class _DrawnShot(NamedTuple):
    """The arrays of a Film, of one shot."""

    frames: UInt8[np.ndarray, "p y x 3"]
    boxes: Int[np.ndarray, "p roles 4"]
    figures: UInt8[np.ndarray, "p y x"]
    landmark: Bool[np.ndarray, "p y x"]


def check_picture_size(height: int, width: int) -> None:
    """Raises InputError for a picture too small to recognise anything in it."""
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"a picture of {height}x{width} is too small: each side must be at least {MIN_SIDE}"
        )


def render_story(story: WorldStory, height: int, width: int) -> Film:
    """All frames of a story, height × width pixels. Raises InputError if that is too small."""
    # Shot after shot; then each kind of array as one of all shots.
    shots = [_draw_shot(story, number, height, width) for number in range(len(story.shots))]
    frames, boxes, figures, landmark = map(np.concatenate, zip(*shots, strict=True))
    return Film(story, frames, boxes, figures, landmark)


@typechecked
def render_shot(
    story: WorldStory,
    number: int,
    height: int,
    width: int,
) -> tuple[UInt8[np.ndarray, "p y x 3"], Int[np.ndarray, "p roles 4"]]:
    """The frames and boxes of a shot, numbered from 0; boxes as in Film.

    Raises InputError for too small a size.
    """
    drawn = _draw_shot(story, number, height, width)
    return drawn.frames, drawn.boxes


def _draw_shot(story: WorldStory, number: int, height: int, width: int) -> _DrawnShot:
    """All that a film has of a shot. Raises InputError for too small a size."""
    check_picture_size(height, width)
    shot = story.shots[number]
    clothing_size = SUBSETS[story.config.subset].clothing
    place = PLACES[shot.place]
    layout = story.layouts[shot.place]

    canvas = Canvas(height, width)
    backdrop = canvas.picture  # the place as it was last drawn
    backdrop_view = None
    frames = np.empty((shot.frames, height, width, 3), np.uint8)
    boxes = np.zeros((shot.frames, MAX_ROLES, 4), np.int32)
    figures = np.zeros((shot.frames, height, width), np.uint8)
    landmark = np.zeros((shot.frames, height, width), bool)
    names = list(CHARACTERS)
    for i in range(shot.frames):
        share = _share_of_shot(i, shot.frames)
        view = view_at(shot.camera, share)
        pen = Pen(canvas, view.to_pixels(height, width))

        # The place; while the camera stands still it is drawn only once.
        if view == backdrop_view:
            canvas.picture[:] = backdrop
        else:
            landmark_matte = draw_place(pen, place, layout, view.centre)
            backdrop = canvas.picture.copy()
            backdrop_view = view

        # The characters before it.
        seconds = i / story.config.fps
        for slot, role in enumerate(shot.roles):
            look = story.looks[role.name]
            figure_pixels = _draw_role(pen, role, look, clothing_size, share, seconds)
            boxes[i, slot] = _bounding_box(figure_pixels)
            # A later role stands before an earlier one.
            figures[i][figure_pixels] = 1 + names.index(role.name)
        landmark[i] = (landmark_matte > 0.5) & (figures[i] == 0)
        frames[i] = canvas.to_uint8()
    return _DrawnShot(frames, boxes, figures, landmark)


def _draw_role(
    pen: Pen,
    role: Role,
    look: Look,
    clothing_size: float,
    share: float,
    seconds: float,
) -> Bool[np.ndarray, "y x"]:
    """Draws a character at a time of the shot, and returns its pixels.

    share: of the shot, 0 to 1.
    """
    character = CHARACTERS[role.name]
    pose = pose_at(role.action, seconds, role.phase, character.build)
    # A walker is in the middle of its way at half of the shot; one who looks left is mirrored.
    u = role.position + role.direction * role.walk_length * (share - 0.5)
    spot = pen.moved(u, 0.0)
    mirrored = spot.scaled(role.direction, 1.0)

    # Its pixels are those of the figure alone, without shadow and dream.
    figure.draw_shadow(mirrored, character, pose)
    pen.canvas.start_matte()
    figure.draw_figure(mirrored, character, look, pose, clothing_size)
    matte = pen.canvas.end_matte()

    # A sleeper lies on its side, its head away from where it looked.
    if not pose.awake:
        head = -role.direction * 0.35 * character.build.height
        height = 2 * character.build.half
        figure.draw_dream(spot, head, height, seconds + 2 * role.phase)
    return matte > 0.5


def _bounding_box(mask: Bool[np.ndarray, "y x"]) -> Box:
    """The smallest box around the true pixels; zeros if there are none."""
    # Numbers of the rows and columns with a true pixel.
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return 0, 0, 0, 0
    left = int(columns[0])
    top = int(rows[0])
    right = int(columns[-1]) + 1
    bottom = int(rows[-1]) + 1
    return left, top, right, bottom


def _find_shot(story: WorldStory, frame: int) -> tuple[int, float]:
    """The number of the shot that a frame belongs to, and at which share of the shot it is."""
    for number, (first, stop) in enumerate(story.intervals):
        if first <= frame < stop:
            return number, _share_of_shot(frame - first, stop - first)
    frames = story.intervals[-1][1]
    raise InputError(f"the story has {frames} frames, not a frame {frame}")


def _share_of_shot(frame: int, frames: int) -> float:
    """0 at a shot's first frame, 1 at its last."""
    return frame / max(frames - 1, 1)
