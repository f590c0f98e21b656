"""A process that makes the shots of some of the stories in a shared folder; a gate asks it.

The application is the one that a server alone has (app). Which stories are a teller's follows from
where requests go: it takes a story when it is first asked for it (story_log).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from prometheus_client import generate_latest
from starlette.types import Message, Scope

from shotstream_jax.serve.app import make_open_app
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.unfinished import Unfinished

_A_LOOK = 1.0  # seconds between two looks for stories that another teller has taken
_LOOKS = 30  # after so many of them, a look for stories that nobody uses, or makes


class Teller:
    """A service that is asked by a gate, in one event loop.

    wake: asks, through the gate's own way, whoever a story belongs to, to open it.
    """

    def __init__(self, service: Service, wake: Callable[[str], Awaitable[None]]) -> None:
        self._service = service
        self._app = make_open_app(service)
        self._wake = wake
        self._unfinished = Unfinished(service.studio.store)

    async def answer(self, scope: Scope, messages: list[Message]) -> AsyncIterator[Message]:
        """What the application sends to a client that sends these messages and then waits."""
        sent: asyncio.Queue[Message | None] = asyncio.Queue()
        left = list(messages)

        async def receive() -> Message:
            """The next message, or nothing more."""
            if left:
                return left.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        running = asyncio.ensure_future(self._app(scope, receive, sent.put))
        running.add_done_callback(lambda _: sent.put_nowait(None))
        try:
            while (message := await sent.get()) is not None:
                yield message
            await running  # raises what the application has raised
        finally:
            running.cancel()

    def open(self, story: str) -> None:
        """Opens a story, whose shots are then made. Raises Refusal."""
        self._service.studio.desk(story)

    def figures(self) -> str:
        """What /metrics has."""
        self._service.measure()
        return generate_latest(self._service.metrics.registry).decode()

    async def tend(self) -> None:
        """Lets go of what is not this teller's any more, and finds what nobody makes; for ever."""
        studio = self._service.studio
        while True:
            await asyncio.to_thread(studio.sleep)
            for story in await asyncio.to_thread(self._unfinished.names):
                await self._wake(story)
            for _ in range(_LOOKS):
                await asyncio.sleep(_A_LOOK)
                await asyncio.to_thread(studio.let_go)
