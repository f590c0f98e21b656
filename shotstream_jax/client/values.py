"""What the server answers, as values. Fields that a newer server adds are left out."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # large: imported when a chunk is decoded
    import numpy as np

_Value = TypeVar("_Value")

QUEUED = "queued"
MAKING = "making"
DONE = "done"
CANCELLED = "cancelled"
FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class RemoteVideo:
    """A film.

    height, width: pixels as they are made. scale: how often each is repeated, in both directions,
    in the chunk files. fps: frames a second. shot_frames: of a shot, if it is not told otherwise.
    first_chunk, later_chunk: frames of a shot's first chunk and of each later one.
    """

    height: int
    width: int
    scale: int
    fps: int
    shot_frames: int
    first_chunk: int
    later_chunk: int


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """The server's model.

    chunk, context: latent frames of a chunk, and that a shot sees of those before it. memories: the
    rules by which a story can remember; memory: that of a new one. styles: adapters by their names,
    with the strength that a shot has them at if it names no other. words: that it knows, none if
    it knows them all. examples: captions in them. limits: of the server, by name.
    """

    preset: str
    version: str
    video: RemoteVideo
    chunk: int
    context: int
    memories: list[str]
    memory: str
    styles: dict[str, float]
    words: list[str]
    examples: list[str]
    limits: dict[str, int]


@dataclasses.dataclass(frozen=True)
class PromptFacts:
    """About a prompt: words that the model does not know; the word that the global caption loses
    for want of a full stop; how many tokens at the end do not fit."""

    unknown: list[str]
    swallowed: str
    cut: int


@dataclasses.dataclass(frozen=True)
class PinnedFrame:
    """What a shot sees besides its story: a frame of a done shot, by its number there from 0."""

    shot: str
    frame: int


@dataclasses.dataclass(frozen=True)
class PinnedPicture:
    """What a shot sees besides its story: a picture that the story keeps."""

    picture: str


@dataclasses.dataclass(frozen=True)
class RemoteCue:
    """What a shot was told from a chunk on; again: whether those before it passed again."""

    chunk: int
    caption: str
    again: bool


@dataclasses.dataclass(frozen=True)
class RemoteShot:
    """A shot as the server last told of it.

    id, parent: its name, and that of the shot before it (None: it is a first one).
    number: from 0, its depth in the tree.
    caption, take, frames, pins: as they were asked for; frames are latent ones.
    styles: strengths of the server's styles, by their names.
    asked_at: seconds since 1970.
    state: "queued", "making", "done", "cancelled" or "failed" (reason: why).
    cues: what it was told while it was made. cut: after how many chunks it was cut, if it was.
    made, chunks: its chunks that are there, and in all.
    first_frame, length: pixel frames, its place in the film and its length, once they are known.
    hidden: whether its owner has put it out of sight.
    """

    id: str
    parent: str | None
    number: int
    caption: str
    take: int
    frames: int | None
    pins: tuple[PinnedFrame | PinnedPicture, ...]
    styles: dict[str, float]
    asked_at: float
    state: str
    cues: tuple[RemoteCue, ...]
    cut: int | None
    made: int
    chunks: int
    first_frame: int | None
    length: int | None
    hidden: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class RemoteState:
    """A story at a moment.

    memory: the rule by which its shots remember. role: "owner" or "viewer". share: the token that
    only shows it, told to its owner. head: the shot that the next one follows (None: the
    beginning). seq: the number of its last event. shots: by their names, in the order in which they
    were asked for.
    """

    id: str
    title: str
    global_caption: str
    seed: int
    memory: str
    preset: str
    video: RemoteVideo
    role: str
    share: str | None
    head: str | None
    seq: int
    shots: dict[str, RemoteShot]

    def branch(self, last: str | None) -> list[RemoteShot]:
        """The shots from the beginning to `last`."""
        shots: list[RemoteShot] = []
        while last is not None:
            shots.append(self.shots[last])
            last = self.shots[last].parent
        return shots[::-1]


@dataclasses.dataclass(frozen=True)
class StoryEvent:
    """A change of a story, or of the server (docs/serving.md lists the kinds and their fields).

    seq: its number in the story's log; None for what is of the moment only.
    """

    kind: str
    seq: int | None
    fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class RemoteChunk:
    """A chunk of a shot.

    shot: its name. number: from 0, of `chunks`. first_frame, length: its place in the film of its
    branch, and its length, in pixel frames. film: an mp4 of its own.
    """

    shot: str
    number: int
    chunks: int
    first_frame: int
    length: int
    film: bytes = dataclasses.field(repr=False)

    def frames(self) -> "np.ndarray":
        """Its pictures, RGB: uint8 [length, height · scale, width · scale, 3] (RemoteVideo)."""
        from shotstream_jax.media.decode import decoded

        return decoded(self.film)


def taken(kind: type[_Value], fields: Mapping[str, Any], **others: Any) -> _Value:
    """A value with the fields of an answer that it has, and others in place of theirs."""
    values = dict(others)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in values:
            values[field.name] = fields[field.name]
    return kind(**values)


def shot_of(answer: Mapping[str, Any]) -> RemoteShot:
    """A shot as it was answered."""
    pins: list[PinnedFrame | PinnedPicture] = []
    for pin in answer["pins"]:
        if pin.get("picture") is not None:
            pins.append(PinnedPicture(pin["picture"]))
        else:
            pins.append(PinnedFrame(pin["shot"], pin["frame"]))
    cues = [taken(RemoteCue, cue) for cue in answer["cues"]]
    return taken(RemoteShot, answer, pins=tuple(pins), cues=tuple(cues))


def state_of(answer: Mapping[str, Any]) -> RemoteState:
    """A story as it was answered."""
    shots = {}
    for fields in answer["shots"]:
        shot = shot_of(fields)
        shots[shot.id] = shot
    return taken(RemoteState, answer, video=taken(RemoteVideo, answer["video"]), shots=shots)


def model_of(answer: Mapping[str, Any]) -> ModelFacts:
    """The model as it was answered."""
    styles = {}
    for style in answer["styles"]:
        styles[style["name"]] = style["strength"]
    return taken(ModelFacts, answer, video=taken(RemoteVideo, answer["video"]), styles=styles)
