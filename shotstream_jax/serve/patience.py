"""Connections whose peer sends or takes nothing are ended.

uvicorn waits for ever for the head of a request, and for whoever does not read an answer. Each such
connection would keep one of those that the server has, and an export's file with it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from shotstream_jax.serve.settings import Limits

KEEP_ALIVE = 30  # seconds that a connection stays open between two requests
_MOST_PIECES = 64  # of a message: its bytes are bounded, pieces without any are not


class _Deadline:
    """Ends a connection at a time, unless it is lifted before. seconds: from `set` on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    def set(self, transport: asyncio.Transport, more: float = 0.0) -> None:
        """The deadline holds from now on. more: seconds besides its own."""
        self.lift()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds + more, transport.abort)

    def lift(self) -> None:
        """It no longer holds."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class PatientHttp(H11Protocol):
    """HTTP/1.1: a request's head within `limits.head` seconds, an answer taken bit by bit within
    `limits.send` each. A body's time is bounded in bounded_body."""

    def __init__(self, limits: Limits, **named: Any) -> None:
        super().__init__(**named)
        self._head = _Deadline(limits.head)
        self._taken = _Deadline(limits.send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request is waited for."""
        super().connection_made(transport)
        self._head.set(transport)

    def handle_events(self) -> None:
        """A request whose head is whole is in the application's hands."""
        super().handle_events()
        if self._is_at_work():
            self._head.lift()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """The connection is a socket's from now on."""
        self._head.lift()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """The next request is waited for; the rest of this one's body is no reason to wait."""
        super().on_response_complete()
        if not self._is_at_work():
            self._head.set(self.transport, KEEP_ALIVE)

    def send_400_response(self, msg: str) -> None:
        """The connection ends with it, and has a moment for that."""
        super().send_400_response(msg)
        self._head.set(self.transport)

    def pause_writing(self) -> None:
        """The peer does not read."""
        super().pause_writing()
        self._taken.set(self.transport)

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        self._taken.lift()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head.lift()
        self._taken.lift()
        super().connection_lost(exc)

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


class PatientSocket(WebSocketsSansIOProtocol):
    """A WebSocket: what is sent is taken within `limits.send` seconds, also at its end."""

    def __init__(self, limits: Limits, **named: Any) -> None:
        super().__init__(**named)
        self._taken = _Deadline(limits.send)
        self._ended = _Deadline(limits.send)

    def handle_cont(self, event: Frame) -> None:
        """A piece of a message, of which a hello has few."""
        super().handle_cont(event)
        if len(self.frames) > _MOST_PIECES:
            self.conn.fail(1009, "too many pieces")
            self.handle_parser_exception()

    def pause_writing(self) -> None:
        """The peer does not read; its pings, which would be answered, are not read either."""
        super().pause_writing()
        self.transport.pause_reading()
        self._taken.set(self.transport)

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()
        self._taken.lift()

    def keepalive_timeout(self) -> None:
        """The peer does not answer pings."""
        super().keepalive_timeout()
        self.transport.abort()

    async def run_asgi(self) -> None:
        """After the application's end the peer has a moment to take what is on its way."""
        await super().run_asgi()
        if not self.disconnected:
            self._ended.set(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._taken.lift()
        self._ended.lift()
        super().connection_lost(exc)
