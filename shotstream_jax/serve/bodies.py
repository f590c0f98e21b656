"""What requests and answers look like. OpenAPI is made of these; unknown fields are refused."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shotstream_jax.memory.choose import RULES
from shotstream_jax.serve.board import BoardShot
from shotstream_jax.serve.ids import OWNER
from shotstream_jax.serve.story_desk import StoryDesk

LONGEST_PROMPT = 2000
Prompt = Annotated[str, Field(max_length=LONGEST_PROMPT, examples=["The frog is dancing."])]
ShotId = Annotated[str, Field(pattern="^[a-z2-7]{26}$")]
Rule = Annotated[str, Field(pattern=f"^({'|'.join(RULES)})$")]
Styles = Annotated[
    dict[
        Annotated[str, Field(max_length=200)],
        Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)],
    ],
    Field(max_length=64),
]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StoryBody(Body):
    """A new story. memory: the rule by which its shots remember, by default the server's."""

    global_caption: Prompt = ""
    memory: Rule | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    title: Annotated[str, Field(max_length=200)] = ""


class StoryChange(Body):
    """Where the next shot goes on (null: at the beginning), and the story's title."""

    head: ShotId | None = None
    title: Annotated[str, Field(max_length=200)] = ""


class PinBody(Body):
    """What a shot sees: a frame of a done shot, by its number there from 0, or a picture."""

    shot: ShotId | None = None
    frame: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    picture: ShotId | None = None

    @model_validator(mode="after")
    def _is_one(self) -> "PinBody":
        """Either of the two."""
        is_frame = self.shot is not None and self.frame is not None and self.picture is None
        is_picture = self.picture is not None and self.shot is None and self.frame is None
        if not is_frame and not is_picture:
            raise ValueError("a pin has either shot and frame, or picture")
        return self


class PictureMade(BaseModel):
    """A picture that is kept."""

    picture: str


class ShotBody(Body):
    """A shot. parent: that it follows (null: it is a first one), by default the head. take: by
    default the first that is not there. frames: latent frames, a multiple of the model's chunk.
    styles: strengths of the model's adapters by their names; the others have their own."""

    caption: Prompt
    parent: ShotId | None = None
    take: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    frames: Annotated[int | None, Field(ge=1, le=4096)] = None
    pins: Annotated[list[PinBody], Field(max_length=8)] = []
    styles: Styles = {}


class ShotChange(Body):
    """Another caption. again: of a shot in the making, whether its chunks pass again under it."""

    caption: Prompt
    again: bool = False


class CheckBody(Body):
    """A prompt that is being written."""

    caption: Prompt
    global_caption: Prompt = ""


class Problem(BaseModel):
    """What is wrong (code: for programs), and what to do about it."""

    code: str
    message: str
    remedy: str


class VideoAnswer(BaseModel):
    """The film: pixels as they are made and how often each is repeated in the chunk files, frames a
    second, frames a shot, and the frames of a shot's first chunk and of each later one."""

    height: int
    width: int
    scale: int
    fps: int
    shot_frames: int
    first_chunk: int
    later_chunk: int


class CueAnswer(BaseModel):
    """What a shot was told from a chunk on."""

    chunk: int
    caption: str
    again: bool


class ShotAnswer(BaseModel):
    """A shot. state: queued, making, done, cancelled or failed. made: its chunks that are there."""

    id: str
    parent: str | None
    number: int
    caption: str
    take: int
    frames: int | None
    pins: list[PinBody]
    styles: dict[str, float]
    asked_at: float
    state: str
    cues: list[CueAnswer]
    cut: int | None
    made: int
    chunks: int
    first_frame: int | None
    length: int | None
    hidden: bool
    reason: str


class StoryAnswer(BaseModel):
    """A story as it is now; seq: the number of its last event. memory: the rule by which its shots
    remember."""

    id: str
    title: str
    global_caption: str
    seed: int
    memory: str
    preset: str
    video: VideoAnswer
    role: str
    share: str | None
    head: str | None
    seq: int
    shots: list[ShotAnswer]


class StoryMade(BaseModel):
    """A new story, the token of its owner, and one that only shows it."""

    id: str
    token: str
    share: str


class NotesAnswer(BaseModel):
    """About a prompt: words that the model does not know; the word that the global caption loses
    for want of a full stop; how many tokens at the end do not fit."""

    unknown: list[str]
    swallowed: str
    cut: int


class StyleAnswer(BaseModel):
    """An adapter beside the model, and the strength that a shot has it at if it names no other."""

    name: str
    strength: float


class ModelAnswer(BaseModel):
    """The model. words: that it knows, none if it knows them all. examples: captions in them.
    memories: the rules by which a story can remember, memory: that of a new one. styles: adapters
    that shots can be made with."""

    preset: str
    version: str
    video: VideoAnswer
    chunk: int
    context: int
    memories: list[str]
    memory: str
    styles: list[StyleAnswer]
    words: list[str]
    examples: list[str]
    limits: dict[str, int]


class Health(BaseModel):
    """Whether the server is well."""

    status: str


def shot_answer(desk: StoryDesk, shot: BoardShot) -> ShotAnswer:
    """A shot as it is answered."""
    fields: dict[str, Any] = {name: getattr(shot, name) for name in _PLAIN}
    making = desk.making
    is_making = making is not None and making.shot == shot.id and shot.state == "queued"
    if making is not None and is_making:
        fields.update(
            state="making",
            made=making.made,
            chunks=making.chunks,
            first_frame=making.first_frame,
        )
    else:
        fields["made"] = shot.chunks
    cues = [CueAnswer(**cue._asdict()) for cue in shot.cues]
    pins = [PinBody(**pin) for pin in shot.pins]
    return ShotAnswer(cues=cues, pins=pins, **fields)


_PLAIN = tuple(name for name in ShotAnswer.model_fields if name not in ("cues", "pins", "made"))


def story_answer(desk: StoryDesk, video: VideoAnswer, role: str, share: str) -> StoryAnswer:
    """A story as it is answered; only its owner is told the token that shares it."""
    head = desk.folder.head
    with desk.lock:
        board = desk.board
        return StoryAnswer(
            id=desk.id,
            title=board.title,
            global_caption=head.global_caption,
            seed=head.seed,
            memory=head.memory,
            preset=head.preset,
            video=video,
            role=role,
            share=share if role == OWNER else None,
            head=board.head,
            seq=board.seq,
            shots=[shot_answer(desk, shot) for shot in board.shots.values()],
        )
