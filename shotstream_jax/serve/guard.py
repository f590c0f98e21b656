"""Before any route: who may call the server, how often, and what every answer says.

The server has no cookies and allows no other origin, so a foreign page can neither read answers nor
act for a user. A page of another name that resolves to this machine is refused by its Host.
"""

import collections
import json
import math
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shotstream_jax.serve.bounded_body import BoundedBody
from shotstream_jax.serve.logs import log_line
from shotstream_jax.serve.metrics import ServiceMetrics
from shotstream_jax.serve.refusal import Refusal
from shotstream_jax.serve.settings import ServeSettings

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
_HEADERS = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# The paths that large files are sent to.
_ARCHIVES = "/api/stories/import"
_PICTURES = "/pictures"
_SAFE = ("GET", "HEAD", "OPTIONS")
_ADDRESSES = 10_000  # whose requests are counted at the same time


class Buckets:
    """How often each caller may come: on average `rate` times a second, `burst` times at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def take(self, caller: str, now: float) -> int:
        """Counts a call at a time in seconds; 0 if it is granted, else the seconds to wait."""
        left, before = self._left.pop(caller, (float(self._burst), now))
        left = min(self._burst, left + (now - before) * self._rate)
        is_granted = left >= 1
        self._left[caller] = (left - 1 if is_granted else left, now)
        # Those that have not called for the longest time have full buckets by now.
        while len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)
        return 0 if is_granted else math.ceil((1 - left) / self._rate)


class Guard:
    """The application behind its checks."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, metrics: ServiceMetrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._buckets = Buckets(settings.limits.requests, settings.limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks a request, hands it on, and writes a line of the log."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def answer(message: Message) -> None:
            """Adds the headers that every answer has."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                del headers["accept-ranges"]
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            self._metrics.refused.labels(refusal.code).inc()
            await refuse(scope, receive, answer, refusal)
        else:
            _ask_for_all(scope)
            await self._app(scope, self._bounded(scope, receive), answer)
        if scope["type"] == "http":
            log_line(
                "request",
                method=scope["method"],
                route=_route(scope),
                status=status,
                seconds=round(time.perf_counter() - began, 4),
            )

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """A body of no more bytes than its path takes, and no slower than is waited for."""
        if scope["type"] != "http":
            return receive
        limits = self._settings.limits
        most = limits.body
        if scope["path"] == _ARCHIVES:
            most = limits.archive
        elif scope["path"].endswith(_PICTURES):
            most = limits.picture
        return BoundedBody(receive, most, limits)

    def _check(self, scope: Scope) -> None:
        """Raises Refusal for a caller that may not come, or comes too often."""
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers and "content-length" in headers:
            # A proxy may have seen another end of this request, and so another next one.
            raise Refusal(400, "two_lengths", "the body has two lengths", "send one of them")
        host = headers.get("host", "")
        if host.lower() not in self._settings.hosts:
            raise Refusal(
                421,
                "host",
                "the server does not have this name",
                "call it by the address that it prints, or start it with --public-url",
            )
        is_unsafe = scope["type"] == "websocket" or scope["method"] not in _SAFE
        origin = headers.get("origin")
        if is_unsafe and origin is not None:
            own = {f"http://{host}", f"https://{host}"}
            if origin.lower() not in own | set(self._settings.origins):
                raise Refusal(
                    403,
                    "origin",
                    "a page of another server may not use this one",
                    "open the page that this server has",
                )
        if scope["path"].startswith("/health/"):
            return
        client = scope.get("client") or ("", 0)
        wait = self._buckets.take(client[0], time.monotonic())
        if wait:
            raise Refusal(429, "too_often", "too many requests", "wait a moment", wait)


async def refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """The answer to a request that is not handed on; 403 to a WebSocket's handshake."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.code})
        return
    headers: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
    if refusal.status == 400:
        headers.append((b"connection", b"close"))
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    body = json.dumps(refusal.content()).encode()
    await send({"type": "http.response.body", "body": body})


def _ask_for_all(scope: Scope) -> None:
    """Files are sent as a whole: takes out the wish for a part of one."""
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"range"]


def _route(scope: Scope) -> str:
    """The route's pattern, which has no one's names in it."""
    route: Any = scope.get("route")
    return route.path if route is not None else "-"
