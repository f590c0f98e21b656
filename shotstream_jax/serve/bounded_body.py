"""A request's body, bounded in bytes and in time, whatever its sender says of its length."""

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from shotstream_jax.serve.settings import Limits

# The connection ends with the answer: what else is sent is not waited for.
_CLOSE = {"connection": "close"}


class BoundedBody:
    """What a request's body is received through.

    most: bytes that it may have. Its sender has `limits.pause` seconds, and another one for every
    `limits.slowest` bytes.
    """

    def __init__(self, receive: Receive, most: int, limits: Limits) -> None:
        self._receive = receive
        self._left = most
        self._deadline = time.monotonic() + limits.pause
        self._rate = limits.slowest
        self._is_whole = False

    async def __call__(self) -> Message:
        """The next piece. Raises HTTPException, 413 or 408."""
        # After its end it is only waited for the caller to go.
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body comes too slowly", _CLOSE) from None
        count = len(message.get("body", b""))
        self._left -= count
        self._deadline += count / self._rate
        self._is_whole = not message.get("more_body", False)
        if self._left < 0:
            raise HTTPException(413, "the body is too large", _CLOSE)
        return message
