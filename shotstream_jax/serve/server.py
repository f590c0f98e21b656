"""The process: uvicorn around the application, an orderly end, and a loud one."""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from shotstream_jax.serve.logs import log_line, log_problem
from shotstream_jax.serve.patience import KEEP_ALIVE, PatientHttp, PatientSocket
from shotstream_jax.serve.service import Service

_DIED = 70  # exit code: a thread has ended by an error
_GRACE = 5  # seconds that requests in hand have at the end


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM and Ctrl-C finishes the chunk in hand and exits with 0.

    uvicorn itself closes the sockets first and ends by the signal.
    """

    def __init__(self, config: uvicorn.Config, service: Service, on_open: str) -> None:
        super().__init__(config)
        self._service = service
        self._on_open = on_open
        self._ending: asyncio.Task[None] | None = None

    async def startup(self, sockets: list | None = None) -> None:
        """Says where the server is, once it is there."""
        await super().startup(sockets)
        if self.started:
            log_line("open", address=self._on_open)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Our own handlers, in the event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        """The first signal ends in order, a second one at once."""
        if self._ending is not None:
            self.force_exit = True
            self.should_exit = True
            return
        self._ending = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """Before the sockets close, what was begun is on disk and every viewer knows."""
        log_line("stopping")
        await asyncio.to_thread(self._service.stop)
        self.should_exit = True


def make_server(app: FastAPI, service: Service, host: str, port: int, address: str) -> Server:
    """A server of the application; address: that people open it by."""
    limits = service.settings.limits
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        # Whatever else is installed; uvicorn calls them as it would the classes.
        http=functools.partial(PatientHttp, limits),  # type: ignore[arg-type]
        ws=functools.partial(PatientSocket, limits),  # type: ignore[arg-type]
        access_log=False,
        log_config=None,
        server_header=False,
        # Films do not shrink; each socket would take memory for it.
        ws_per_message_deflate=False,
        ws_max_size=16 * 1024,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=KEEP_ALIVE,
        limit_concurrency=1024,
        h11_max_incomplete_event_size=32 * 1024,
    )
    return Server(config, service, address)


def end_process(error: BaseException) -> None:
    """Ends the process at once. Whoever watches over it starts it again; it goes on from disk."""
    log_problem("died", error)
    os._exit(_DIED)
