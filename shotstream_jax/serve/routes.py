"""The commands over REST. Each can be repeated: with the same Idempotency-Key where it makes
something, and by its nature elsewhere."""

import pathlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import WithJsonSchema

import shotstream_jax
from shotstream_jax.core.errors import InputError
from shotstream_jax.generate.progress import prompt_notes
from shotstream_jax.media.formats import enlargement
from shotstream_jax.memory.choose import RULES
from shotstream_jax.serve import bodies
from shotstream_jax.serve.examples import example_captions
from shotstream_jax.serve.ids import OWNER
from shotstream_jax.serve.refusal import Refusal, invalid, no_shot
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.shot_commands import HEAD
from shotstream_jax.serve.story_desk import StoryDesk

_bearer = HTTPBearer(auto_error=False, description="the story's token, of its owner or to share")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
StoryName = Annotated[str, Path(pattern="^[a-z2-7]{26}$")]
ShotName = Annotated[str, Path(pattern="^[a-z2-7]{26}$")]
_KEY = "^[A-Za-z0-9_-]{16,64}$"
Key = Annotated[
    str | None,
    # It is left out, or a text: no header is null.
    WithJsonSchema({"type": "string", "pattern": _KEY}),
    Header(
        alias="Idempotency-Key",
        pattern=_KEY,
        description="random, of the client's; the same request with it has the same answer",
    ),
]
_WAIT = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: _WAIT,
    503: _WAIT,
}
FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers of these statuses, for OpenAPI; those that every route has are added."""
    every = {400, 403, 421, 422, 429, *statuses}
    if 413 in every:
        every.add(408)  # whatever has a body may be sent too slowly
    answers: dict[int | str, dict[str, Any]] = {}
    for status in sorted(every):
        answers[status] = {"model": bodies.Problem}
        if status in _HEADERS:
            answers[status]["headers"] = _HEADERS[status]
    return answers


def kept_file(path: pathlib.Path, kind: str, missing: Refusal) -> Response:
    """One of a story's files, which is small and never changes. Raises `missing`."""
    # In one go: the story may be removed at any moment.
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise missing from None
    return Response(data, media_type=kind, headers=FOR_EVER)


class Doors:
    """How a story is opened: to be seen with either token, to be changed with its owner's."""

    def __init__(self, service: Service) -> None:
        self._studio = service.studio

    def seen(self, story: StoryName, credentials: Credentials) -> tuple[StoryDesk, str]:
        """The story, and what the token allows. Raises Refusal."""
        if credentials is None:
            raise Refusal(
                401, "no_token", "the story's token is missing", "send Authorization: Bearer …"
            )
        # Before the story is looked for: whoever has no token neither learns of one nor opens it.
        role = self._studio.role(story, credentials.credentials)
        if role is None:
            raise Refusal(
                401, "wrong_token", "the token does not open this story", "send the story's own"
            )
        return self._studio.desk(story), role

    def changed(self, story: StoryName, credentials: Credentials) -> StoryDesk:
        """The story, to be changed. Raises Refusal."""
        desk, role = self.seen(story, credentials)
        if role != OWNER:
            raise Refusal(
                403, "read_only", "this token only shows the story", "ask its owner for theirs"
            )
        return desk


def story_routes(service: Service) -> APIRouter:
    """Making, reading, changing and removing stories."""
    router = APIRouter(tags=["stories"])
    studio = service.studio
    doors = Doors(service)
    Seen = Annotated[tuple[StoryDesk, str], Depends(doors.seen)]
    Changed = Annotated[StoryDesk, Depends(doors.changed)]

    def answer(desk: StoryDesk, role: str) -> bodies.StoryAnswer:
        """The story as it is now."""
        _, share = studio.tokens(desk.id)
        return bodies.story_answer(desk, film_format(service), role, share)

    @router.post("/stories", status_code=201, responses=problems(409, 413, 503))
    def make_story(body: bodies.StoryBody, key: Key = None) -> bodies.StoryMade:
        """Makes a story. Its token is needed for all that follows, and told only here."""
        desk = studio.create(body.global_caption, body.seed, body.title, key, body.memory)
        token, share = studio.tokens(desk.id)
        return bodies.StoryMade(id=desk.id, token=token, share=share)

    @router.get("/stories/{story}", responses=problems(401, 404, 409, 503))
    def read_story(seen: Seen) -> bodies.StoryAnswer:
        """The whole story as it is now."""
        return answer(*seen)

    @router.patch("/stories/{story}", responses=problems(401, 404, 409, 413, 503))
    def change_story(desk: Changed, body: bodies.StoryChange) -> bodies.StoryAnswer:
        """Moves the head (going back, undo, redo, changing the branch), or gives a title."""
        studio.change(desk, body.model_dump(exclude_unset=True))
        return answer(desk, OWNER)

    @router.delete("/stories/{story}", status_code=204, responses=problems(401, 404, 409, 503))
    def remove_story(desk: Changed) -> None:
        """Removes the story with all of its files, and cancels what is in the making."""
        studio.remove(desk.id)

    return router


def shot_routes(service: Service) -> APIRouter:
    """Asking for shots, changing and cancelling them."""
    router = APIRouter(prefix="/stories/{story}/shots", tags=["shots"])
    shots = service.shots
    Changed = Annotated[StoryDesk, Depends(Doors(service).changed)]

    @router.post("", status_code=202, responses=problems(401, 404, 409, 413, 503))
    def ask_for_shot(desk: Changed, body: bodies.ShotBody, key: Key = None) -> bodies.ShotAnswer:
        """Asks for a shot: the next one, another take (same parent and caption), or a fork (another
        parent). It then is the head."""
        parent = body.parent if "parent" in body.model_fields_set else HEAD
        pins = [pin.model_dump(exclude_none=True) for pin in body.pins]
        shot = shots.ask(desk, body.caption, parent, body.take, body.frames, pins, key, body.styles)
        return bodies.shot_answer(desk, shot)

    @router.patch("/{shot}", responses=problems(401, 404, 409, 413, 503))
    def retell_shot(desk: Changed, shot: ShotName, body: bodies.ShotChange) -> bodies.ShotAnswer:
        """Gives a queued shot another caption; one in the making from its next chunk on."""
        return bodies.shot_answer(desk, shots.retell(desk, shot, body.caption, body.again))

    @router.post("/{shot}/cut", responses=problems(401, 404, 409, 503))
    def cut_shot(desk: Changed, shot: ShotName) -> bodies.ShotAnswer:
        """Ends a shot after the chunk that is being made; what there is of it stays."""
        return bodies.shot_answer(desk, shots.cut(desk, shot))

    @router.delete("/{shot}", status_code=204, responses=problems(401, 404, 409, 503))
    def take_shot_away(desk: Changed, shot: ShotName) -> None:
        """Cancels a shot that is not done; puts one that is done out of sight."""
        shots.take_away(desk, shot)

    @router.post("/{shot}/restore", responses=problems(401, 404, 409, 503))
    def restore_shot(desk: Changed, shot: ShotName) -> bodies.ShotAnswer:
        """Brings a shot back that was put out of sight."""
        return bodies.shot_answer(desk, shots.restore(desk, shot))

    return router


def shot_file_routes(service: Service) -> APIRouter:
    """Films and pictures of shots."""
    router = APIRouter(prefix="/stories/{story}/shots", tags=["shots"])
    Seen = Annotated[tuple[StoryDesk, str], Depends(Doors(service).seen)]

    @router.get(
        "/{shot}/chunks/{chunk}",
        response_class=Response,
        responses={200: {"content": {"video/mp4": {}}}, **problems(401, 404, 409, 503)},
    )
    def read_chunk(
        seen: Seen, shot: ShotName, chunk: Annotated[int, Path(ge=0, lt=1000)]
    ) -> Response:
        """A chunk's film: an mp4 of its own that never changes."""
        desk, _ = seen
        if shot not in desk.board.shots:
            raise no_shot(shot)
        missing = Refusal(404, "no_chunk", f"the shot has no chunk {chunk}", "wait for it")
        return kept_file(desk.folder.chunk(shot, chunk), "video/mp4", missing)

    @router.get(
        "/{shot}/poster",
        response_class=Response,
        responses={200: {"content": {"image/webp": {}}}, **problems(401, 404, 409, 503)},
    )
    def read_poster(seen: Seen, shot: ShotName) -> Response:
        """A shot's first picture."""
        desk, _ = seen
        if shot not in desk.board.shots:
            raise no_shot(shot)
        missing = Refusal(404, "no_poster", "the shot has no picture yet", "wait for it")
        return kept_file(desk.folder.poster(shot), "image/webp", missing)

    return router


def model_routes(service: Service) -> APIRouter:
    """What a writer should know. No token is needed."""
    router = APIRouter(tags=["model"])
    model = service.studio.model

    @router.get("/model", responses=problems())
    def read_model() -> bodies.ModelAnswer:
        """The model, its film, its words, and the server's limits."""
        limits = service.settings.limits
        words = model.tokenizer.words()
        styles = []
        for style in model.styles.styles if model.styles else ():
            styles.append(bodies.StyleAnswer(name=style.name, strength=style.strength))
        return bodies.ModelAnswer(
            preset=model.preset.name,
            version=shotstream_jax.__version__,
            video=film_format(service),
            chunk=model.preset.memory.chunk,
            context=model.preset.memory.context,
            memories=list(RULES),
            memory=service.settings.memory,
            styles=styles,
            words=words,
            examples=example_captions(words),
            limits={
                "prompt": bodies.LONGEST_PROMPT,
                "queue": limits.queue,
                "shots": limits.shots,
                "shot_frames": limits.shot_chunks * model.preset.memory.chunk,
                "pins": model.preset.memory.context,
                "viewers": limits.viewers,
            },
        )

    @router.post("/prompts/check", responses=problems(413))
    def check_prompt(body: bodies.CheckBody) -> bodies.NotesAnswer:
        """What there is to know about a prompt before it is made."""
        return notes_of(service, body)

    return router


def notes_of(service: Service, body: bodies.CheckBody) -> bodies.NotesAnswer:
    """Notes about a prompt; an empty one has none."""
    if not body.caption.strip():
        return bodies.NotesAnswer(unknown=[], swallowed="", cut=0)
    try:
        story = service.studio.blank(body.global_caption)
        notes = prompt_notes(service.studio.model, story, body.caption)
    except InputError as error:
        raise invalid(str(error)) from None
    return bodies.NotesAnswer(unknown=list(notes.unknown), swallowed=notes.swallowed, cut=notes.cut)


def film_format(service: Service) -> bodies.VideoAnswer:
    """The film's format."""
    video = service.studio.video
    preset = service.studio.model.preset
    first = preset.vae.pixel_frames(preset.memory.chunk)
    later = preset.vae.pixel_frames(2 * preset.memory.chunk) - first
    return bodies.VideoAnswer(
        height=video.height,
        width=video.width,
        scale=enlargement("auto", video.height, video.width),
        fps=video.fps,
        shot_frames=preset.vae.pixel_frames(video.shot_frames),
        first_chunk=first,
        later_chunk=later,
    )
