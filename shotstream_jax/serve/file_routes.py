"""Films, story files and pictures over REST."""

import pathlib
import tempfile
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import WithJsonSchema
from starlette.background import BackgroundTask

from shotstream_jax.serve import bodies
from shotstream_jax.serve.exchange import Exchange, remove_own_folder
from shotstream_jax.serve.refusal import Refusal, no_shot
from shotstream_jax.serve.routes import Doors, Key, ShotName, kept_file, problems
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.story_desk import StoryDesk

_ID = "^[a-z2-7]{26}$"
# It is left out, or a text: nothing in an address is null.
Head = Annotated[str | None, WithJsonSchema({"type": "string", "pattern": _ID}), Query(pattern=_ID)]


def file_routes(service: Service, exchange: Exchange) -> APIRouter:
    """Films and story files. The film that is asked for ends with a shot of its branch."""
    router = APIRouter(prefix="/stories", tags=["files"])
    Seen = Annotated[tuple[StoryDesk, str], Depends(Doors(service).seen)]

    @router.get(
        "/{story}/video",
        response_class=FileResponse,
        responses={**_file("video/mp4"), **problems(401, 404, 409, 503)},
    )
    async def read_video(seen: Seen, head: Head = None) -> FileResponse:
        """One mp4 of the shots up to one, by default the head; nothing is encoded again."""
        desk, _ = seen
        last = head or desk.board.head
        if last is not None and last not in desk.board.shots:
            raise no_shot(last)
        return _sent(await exchange.film(desk, last), "video/mp4")

    @router.get(
        "/{story}/archive",
        response_class=FileResponse,
        responses={**_file("application/zip"), **problems(401, 404, 409, 503)},
    )
    async def read_archive(seen: Seen) -> FileResponse:
        """The story's file: all shots that are done, to be opened here or elsewhere."""
        desk, _ = seen
        return _sent(await exchange.archive(desk), "application/zip")

    @router.post(
        "/import",
        status_code=201,
        responses=problems(409, 413, 503),
        openapi_extra=_body("application/zip"),
    )
    async def open_archive(request: Request, key: Key = None) -> bodies.StoryMade:
        """Makes a story of a story's file."""
        with tempfile.TemporaryDirectory(prefix="shotstream-") as folder:
            path = await _received(exchange, request, pathlib.Path(folder) / "story.zip")
            desk = await exchange.open_archive(path, key)
        token, share = service.studio.tokens(desk.id)
        return bodies.StoryMade(id=desk.id, token=token, share=share)

    return router


def picture_routes(service: Service, exchange: Exchange) -> APIRouter:
    """Pictures that a writer gives, to be pinned."""
    router = APIRouter(prefix="/stories", tags=["files"])
    doors = Doors(service)
    Seen = Annotated[tuple[StoryDesk, str], Depends(doors.seen)]
    Changed = Annotated[StoryDesk, Depends(doors.changed)]

    @router.post(
        "/{story}/pictures",
        status_code=201,
        responses=problems(401, 404, 409, 413, 503),
        openapi_extra=_body("image/*"),
    )
    async def keep_picture(
        desk: Changed, request: Request, fit: Literal["crop", "pad"] = "crop"
    ) -> bodies.PictureMade:
        """Keeps a picture (PNG, JPEG, WebP …) in the story's format, to be pinned by its name."""
        with tempfile.TemporaryDirectory(prefix="shotstream-") as folder:
            path = await _received(exchange, request, pathlib.Path(folder) / "picture")
            picture = await exchange.picture(desk, path, fit)
        return bodies.PictureMade(picture=picture)

    @router.get(
        "/{story}/pictures/{picture}",
        response_class=Response,
        responses={**_file("image/png"), **problems(401, 404, 409, 503)},
    )
    def read_picture(seen: Seen, picture: ShotName) -> Response:
        """A picture in the story's format."""
        desk, _ = seen
        missing = Refusal(404, "no_picture", "the story has no such picture", "send it")
        return kept_file(desk.folder.picture(picture), "image/png", missing)

    return router


def _sent(path: pathlib.Path, kind: str) -> FileResponse:
    """A file that is removed when it has been sent."""
    done = BackgroundTask(remove_own_folder, path)
    return FileResponse(path, media_type=kind, filename=path.name, background=done)


async def _received(exchange: Exchange, request: Request, path: pathlib.Path) -> pathlib.Path:
    """A request's body as a file; the guard bounds its size and its time."""
    async with exchange.room():
        with path.open("wb") as file:
            async for piece in request.stream():
                file.write(piece)
    return path


def _file(kind: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}}


def _body(kind: str) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "content": content}}
