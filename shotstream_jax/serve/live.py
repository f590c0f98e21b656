"""Viewers: each is a cursor that reads a story's feed and its files at its own pace.

Nothing is queued for a viewer, so a slow one holds up itself only: TCP's back-pressure reaches its
own coroutine. The client sends one message, its hello; then the server sends (docs/serving.md).
"""

import asyncio
import json
import struct
import time
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shotstream_jax.serve.refusal import Refusal
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.story_desk import ChunkMade, StoryDesk

BAD_HELLO = 4400
BAD_TOKEN = 4401
NO_STORY = 4404
RESTARTING = 1012
LET_GO = 1013
BEAT = 10.0  # seconds after which a viewer is told the figures though they are the same
_BATCH = 500  # events of a replay in one message


class Hello(BaseModel):
    """A client's only message. token: of the story. have: the number of the last event that it has.
    shot, chunks: how many chunks of the shot in the making it has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    hello: int = Field(ge=1, le=1)
    token: str = Field(max_length=100)
    have: int = Field(default=0, ge=0, lt=2**53)
    shot: str | None = Field(default=None, max_length=26)
    chunks: int = Field(default=0, ge=0, lt=2**31)


class Viewers:
    """All sockets of a server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._limits = service.settings.limits
        self._count = 0

    async def welcome(self, socket: WebSocket, story: str) -> None:
        """Serves one socket until either side ends."""
        await socket.accept()
        if self._count >= self._limits.sockets:
            await _close(socket, LET_GO, "the server has too many viewers")
            return
        self._count += 1
        self._service.metrics.viewers.set(self._count)
        try:
            await self._serve(socket, story)
        except TimeoutError:  # an OSError too
            self._service.metrics.let_go.inc()
            await _close(socket, LET_GO, "too slow")
        except (WebSocketDisconnect, RuntimeError, OSError):
            return  # the client has gone
        finally:
            self._count -= 1
            self._service.metrics.viewers.set(self._count)

    async def _serve(self, socket: WebSocket, story: str) -> None:
        """The hello, and what it opens."""
        hello = await self._hello(socket)
        if hello is None:
            await _close(socket, BAD_HELLO, "the first message must be a hello")
            return
        studio = self._service.studio
        # Before the story is looked for: whoever has no token neither learns of one nor opens it.
        role = studio.role(story, hello.token)
        if role is None:
            await _close(socket, BAD_TOKEN, "the token does not open this story")
            return
        try:
            desk = await asyncio.to_thread(studio.desk, story)
        except Refusal:
            await _close(socket, NO_STORY, "no such story")
            return
        if desk.viewers() >= self._limits.viewers:
            await _close(socket, LET_GO, "the story has too many viewers")
            return
        viewer = Viewer(self._service, desk, socket)
        # At once: of several that come together none may be overlooked.
        viewer.join()
        sending = asyncio.create_task(viewer.run(hello, role))
        listening = asyncio.create_task(_listen(socket))
        tasks = {sending, listening}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if listening.done() and not sending.done() and listening.result():
                await _close(socket, BAD_HELLO, "only a hello is expected")
            elif sending.done():
                sending.result()
        finally:
            for task in tasks:
                task.cancel()
            viewer.leave()

    async def _hello(self, socket: WebSocket) -> Hello | None:
        """The client's hello; None for anything else, or nothing in time."""
        try:
            async with asyncio.timeout(self._limits.hello):
                message = await socket.receive()
        except TimeoutError:
            return None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1006)
        try:
            return Hello.model_validate_json(message.get("text") or "")
        except ValidationError:
            return None


class Viewer:
    """One socket's cursor in a story."""

    def __init__(self, service: Service, desk: StoryDesk, socket: WebSocket) -> None:
        self._service = service
        self._desk = desk
        self._socket = socket
        self._grown = asyncio.Event()
        self._told: dict[str, Any] = {}
        self._told_at = 0.0
        self._number = 0

    def join(self) -> None:
        """Counts as one of the story's viewers from now on."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            """The feed has grown; any thread may say so."""
            loop.call_soon_threadsafe(self._grown.set)

        self._number = self._desk.watch(wake)

    def leave(self) -> None:
        """No longer does."""
        self._desk.unwatch(self._number)

    async def run(self, hello: Hello, role: str) -> None:
        """Sends what is there, then what comes. Raises TimeoutError if the client takes nothing."""
        position, has = await self._catch_up(hello, role)
        await self._follow(position, hello.shot, has)

    async def _catch_up(self, hello: Hello, role: str) -> tuple[int, int]:
        """The story so far.

        Returns the place in the feed from which on it is to be followed, and how many chunks of its
        shot the client has that still hold.
        """
        desk = self._desk
        # 1. All of one moment.
        with desk.lock:
            position = len(desk.feed)
            missed = desk.log[hello.have :]
            seq = desk.board.seq
            making = desk.making_event() if desk.making is not None else None
            # Under another caption all of a shot is new.
            is_new = any(_is_edit(event, hello.shot) for event in missed)
            has = 0 if is_new else hello.chunks
            chunks = []
            for item in desk.feed:
                if making and isinstance(item, ChunkMade) and item.shot == making["shot"]:
                    chunks.append(item)
        # 2. Its events, in few messages.
        await self._say({"event": "welcome", "role": role, "seq": seq, "making": making})
        for first in range(0, len(missed), _BATCH):
            await self._say({"event": "replay", "events": missed[first : first + _BATCH]})
        # 3. The chunks of the shot in the making that the client lacks.
        for item in chunks:
            if item.shot != hello.shot or item.chunk >= has:
                await self._show(item)
        return position, has

    async def _follow(self, position: int, shot: str | None, has: int) -> None:
        """The feed from here on, as it grows.

        shot, has: of which the client has so many chunks; they are not sent again, though the shot
        is made again after a server's death.
        """
        desk = self._desk
        while True:
            self._grown.clear()
            while position < len(desk.feed):
                item = desk.feed[position]
                position += 1
                if not isinstance(item, ChunkMade):
                    has = 0 if _is_edit(item, shot) else has
                    await self._say(item)
                elif item.shot != shot or item.chunk >= has:
                    await self._show(item)
            if desk.is_closed:
                await self._say({"event": "bye"})
                await _close(self._socket, RESTARTING, "try again")
                return
            # Figures that change without an event, once a second at most.
            try:
                async with asyncio.timeout(1):
                    await self._grown.wait()
            except TimeoutError:
                await self._tell_figures()

    async def _tell_figures(self) -> None:
        """How busy the server is, if that has changed; else now and then, as a sign of life."""
        used, waiting = self._service.turns.counts()
        figures = {
            "event": "stats",
            "places": self._service.turns.places,
            "used": used,
            "waiting": waiting,
            "ahead": self._service.turns.ahead(self._desk.id),
        }
        now = time.monotonic()
        if figures != self._told or now - self._told_at >= BEAT:
            self._told = figures
            self._told_at = now
            await self._say(figures)

    async def _show(self, item: ChunkMade) -> None:
        """A chunk: the length of its facts (4 bytes, the highest first), its facts, its film."""
        path = self._desk.folder.chunk(item.shot, item.chunk)
        try:
            film = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return  # the shot was cancelled
        facts = json.dumps(item.facts).encode()
        async with asyncio.timeout(self._service.settings.limits.send):
            await self._socket.send_bytes(struct.pack(">I", len(facts)) + facts + film)
        self._service.metrics.sent.inc(len(film))

    async def _say(self, event: dict[str, Any]) -> None:
        async with asyncio.timeout(self._service.settings.limits.send):
            await self._socket.send_text(json.dumps(event, ensure_ascii=False))


def _is_edit(event: dict[str, Any], shot: str | None) -> bool:
    """Whether an event gives a shot another caption before anything of it is made."""
    return event["event"] == "edited" and event["shot"] == shot


async def _listen(socket: WebSocket) -> bool:
    """Waits for the client to go; True if it sends something instead."""
    message = await socket.receive()
    return message["type"] != "websocket.disconnect"


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Ends a socket, if it is still there."""
    try:
        async with asyncio.timeout(1):
            await socket.close(code, reason)
    except (RuntimeError, OSError, TimeoutError, WebSocketDisconnect):
        return
