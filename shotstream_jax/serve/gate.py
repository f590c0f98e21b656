"""The gate of a server of several processes: whatever is asked for goes to the teller of its story.

A teller is a process with a device and the whole application (teller). The gate has no state: it
checks who comes (guard), has the page, and hands on requests and sockets. When a teller dies, what
can be repeated is asked of another one, and viewers are told to connect again.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shotstream_jax.serve.app import add_page
from shotstream_jax.serve.bodies import Health
from shotstream_jax.serve.guard import Guard, refuse
from shotstream_jax.serve.live import BAD_HELLO, RESTARTING
from shotstream_jax.serve.metrics import ServiceMetrics, joined_figures
from shotstream_jax.serve.refusal import Refusal
from shotstream_jax.serve.settings import Limits, ServeSettings

# (whose, request or socket, what its client has sent) → what the application sends.
Ask = Callable[[str, Scope, list[Message]], AsyncIterator[Message]]
# Of every teller by its name, what /metrics has.
TellersFigures = Callable[[], Awaitable[Mapping[str, str]]]

_STORY = re.compile(r"/api/stories/([a-z2-7]{26})(?:/.*)?")
# What makes something new, and is another thing each time unless it has a key.
_MAKING = re.compile(r"/api/stories(?:/import|/[a-z2-7]{26}/shots)?")
_PLAIN = (
    "type",
    "http_version",
    "method",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "headers",
    "client",
    "server",
    "subprotocols",
)
_TRIES = 4
_PAUSE = 0.3  # seconds between them, in which the router learns who has died
_WAIT = 60.0  # seconds for the first of an answer
_LONGEST_HELLO = 16 * 1024  # characters


class TellerGoneError(Exception):
    """The teller has died, or cannot be reached."""


def make_gate(settings: ServeSettings, ask: Ask, figures: TellersFigures) -> ASGIApp:
    """The application that the world sees."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.get("/health/live")
    def live_health() -> Health:
        """Whether the gate works, whatever the tellers do."""
        return Health(status="live")

    @app.get("/metrics")
    async def metrics() -> Response:
        """The figures of all tellers."""
        text = joined_figures(await figures())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    add_page(app)
    app.mount("/", Gate(ask, settings.limits))
    return Guard(app, settings, ServiceMetrics())


class Gate:
    """Hands on what the application is asked."""

    def __init__(self, ask: Ask, limits: Limits) -> None:
        self._ask = ask
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request or a socket."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request, whose body is here before it is handed on."""
        try:
            body = await _whole_body(receive)
        except HTTPException as error:
            refusal = Refusal(error.status_code, "http_413", error.detail, "send less")
            await refuse(scope, receive, send, refusal)
            return
        if body is None:
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        refusal = Refusal(503, "not_ready", "the story's server has ended", "try again", 1)
        for _ in range(_TRIES):
            answer = self._ask(whose(scope), _plain(scope), messages)
            try:
                async with asyncio.timeout(_WAIT):
                    first = await anext(answer)
            except TellerGoneError:
                if not can_be_repeated(scope):
                    break
                await asyncio.sleep(_PAUSE)
                continue
            except TimeoutError:
                refusal = Refusal(503, "not_ready", "no server answers", "try again later", 10)
                break
            await send(first)
            async for message in answer:
                await send(message)
            return
        await refuse(scope, receive, send, refusal)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A viewer: its hello is handed on, and what it is sent comes back."""
        connect = await receive()
        await send({"type": "websocket.accept"})
        try:
            async with asyncio.timeout(self._limits.hello):
                hello = await receive()
        except TimeoutError:
            await _close(send, BAD_HELLO, "the first message must be a hello")
            return
        if hello["type"] == "websocket.disconnect":
            return
        if len(hello.get("text") or hello.get("bytes") or "") > _LONGEST_HELLO:
            await _close(send, BAD_HELLO, "the first message must be a hello")
            return
        sending = asyncio.create_task(self._show(scope, [connect, hello], send))
        listening = asyncio.create_task(_next_kind(receive))
        tasks = {sending, listening}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            elif listening.result() != "websocket.disconnect":
                await _close(send, BAD_HELLO, "only a hello is expected")
        finally:
            for task in tasks:
                task.cancel()

    async def _show(self, scope: Scope, messages: list[Message], send: Send) -> None:
        """Passes on what a viewer is sent, to its end."""
        answer = self._ask(whose(scope), _plain(scope), messages)
        try:
            async for message in answer:
                if message["type"] != "websocket.accept":
                    async with asyncio.timeout(self._limits.send):
                        await send(message)
        except TellerGoneError:
            await _close(send, RESTARTING, "try again")


def whose(scope: Scope) -> str:
    """What decides which teller is asked: the story; for a new one the client's key, or chance."""
    found = _STORY.fullmatch(scope["path"])
    if found is not None:
        return found[1]
    return Headers(scope=scope).get("idempotency-key") or secrets.token_hex(8)


def can_be_repeated(scope: Scope) -> bool:
    """Whether a request that was perhaps done may be sent once more."""
    is_making = scope["method"] == "POST" and _MAKING.fullmatch(scope["path"])
    return not is_making or "idempotency-key" in Headers(scope=scope)


def _plain(scope: Scope) -> Scope:
    """What another process needs of a request."""
    plain = {"asgi": {"version": "3.0"}, "root_path": ""}
    for name in _PLAIN:
        if name in scope:
            plain[name] = scope[name]
    return plain


async def _whole_body(receive: Receive) -> bytes | None:
    """A request's body; None if its client has gone. The guard bounds its size."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _next_kind(receive: Receive) -> str:
    """The kind of a client's next message."""
    return (await receive())["type"]


async def _close(send: Send, code: int, reason: str) -> None:
    """Ends a socket, if it is still there."""
    message: dict[str, Any] = {"type": "websocket.close", "code": code, "reason": reason}
    with contextlib.suppress(RuntimeError, OSError):
        await send(message)
