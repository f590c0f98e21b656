"""The storyboard on Ray Serve: one gate, and a teller for each device (docs/serving.md).

    serve deploy launch/ray_serve.yaml

`build_app` is what a Serve config names; its argument `words` is the command line of `shotstream
serve`. The number of tellers and what each has of a machine are the deployment Teller's options.
"""

import asyncio
import contextlib
import dataclasses
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Scope

from shotstream_jax.serve.gate import TellerGoneError, make_gate
from shotstream_jax.serve.logs import use_json_logs
from shotstream_jax.serve.options import Asked, asked_for, load_asked, serve_parser
from shotstream_jax.serve.refusal import Refusal
from shotstream_jax.serve.server import end_process
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import ServeSettings
from shotstream_jax.serve.teller import Teller

TELLER = "Teller"
GATE = "Gate"
# Sockets and requests of a process: each holds one while it is open. The service has own limits.
_AT_ONCE = 4096
_SHUTDOWN = 10.0  # seconds for what a process that is to end has begun


class AppArgs(BaseModel):
    """What a Serve config says. words: the command line of `shotstream serve`."""

    model_config = ConfigDict(extra="forbid")

    words: list[str] = []


def build_app(args: AppArgs) -> serve.Application:
    """The application of a Serve config. Raises InputError for words that are wrong."""
    return make_application(args.words, {})


def make_application(words: Sequence[str], options: Mapping[str, Any]) -> serve.Application:
    """The gate before tellers. words: as in AppArgs. options: of the tellers, if not those here."""
    settings = _asked(words).settings
    settings.folder.mkdir(parents=True, exist_ok=True)
    tellers = _TELLERS.options(**options) if options else _TELLERS
    return _GATE.bind(tellers.bind(list(words)), settings)


def _asked(words: Sequence[str]) -> Asked:
    """What the words ask for, of a folder that others use too."""
    asked = asked_for(*serve_parser(None).parse(words))
    settings = dataclasses.replace(asked.settings, is_shared=True)
    return asked._replace(settings=settings)


class RayTeller:
    """A teller as an actor. words: as in AppArgs."""

    def __init__(self, words: Sequence[str]) -> None:
        use_json_logs()
        self._service = _started(words)
        context = serve.get_replica_context()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._others = serve.get_deployment_handle(TELLER, context.app_name)
        self._teller = Teller(self._service, self._wake)
        # Serve makes its objects in the event loop that their methods run in.
        self._tending = asyncio.get_running_loop().create_task(self._teller.tend())

    async def answer(self, scope: Scope, messages: list[Message]) -> AsyncIterator[Message]:
        """See teller.Teller."""
        async for message in self._teller.answer(scope, messages):
            yield message

    async def open(self, story: str) -> None:
        """Opens a story, if it can be opened."""
        with contextlib.suppress(Refusal):
            await asyncio.to_thread(self._teller.open, story)

    async def figures(self) -> tuple[str, str]:
        """This process's name, and what /metrics has of it."""
        return self._name, self._teller.figures()

    async def finish(self) -> None:
        """Finishes the chunk in hand and sends the viewers away: the server ends."""
        await asyncio.to_thread(self._service.stop)

    def check_health(self) -> None:
        """Raises RuntimeError if nothing is made any more."""
        if not self._service.is_live():
            raise RuntimeError("the device's thread has ended")

    async def __del__(self) -> None:
        self._tending.cancel()
        await self.finish()

    async def _wake(self, story: str) -> None:
        """Has the teller open a story that the story's requests go to."""
        with contextlib.suppress(RayActorError):
            await self._others.options(session_id=story).open.remote(story)


def _started(words: Sequence[str]) -> Service:
    """A service that runs and is warm."""
    service = Service(*load_asked(_asked(words)), on_death=end_process)
    service.start()
    service.wait_until_warm()
    return service


class RayGate:
    """The gate as an actor, which the world's requests come to. tellers: who answers them."""

    def __init__(self, tellers: DeploymentHandle, settings: ServeSettings) -> None:
        use_json_logs()
        self._tellers = tellers
        self._settings = settings

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Serve runs."""
        return make_gate(self._settings, self._ask, self._figures)

    async def _ask(
        self, story: str, scope: Scope, messages: list[Message]
    ) -> AsyncIterator[Message]:
        """See gate.Ask."""
        handle = self._tellers.options(stream=True, session_id=story)
        answer = handle.answer.remote(scope, messages)
        try:
            async for message in answer:
                yield message
        except RayActorError as error:
            raise TellerGoneError from error
        finally:
            answer.cancel()

    async def _figures(self) -> Mapping[str, str]:
        """See gate.TellersFigures."""
        answers = await self._tellers.broadcast("figures").results_async()
        return dict(answers)


_TELLERS = serve.deployment(
    name=TELLER,
    max_ongoing_requests=_AT_ONCE,
    # A story's requests go to one teller while the tellers are the same.
    request_router_config=RequestRouterConfig(
        request_router_class="ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
    ),
    graceful_shutdown_timeout_s=_SHUTDOWN,
    graceful_shutdown_wait_loop_s=0.5,
    health_check_period_s=5,
    health_check_timeout_s=30,
    ray_actor_options={"num_cpus": 1},
)(RayTeller)
_GATE = serve.deployment(
    name=GATE, max_ongoing_requests=_AT_ONCE, ray_actor_options={"num_cpus": 0}
)(serve.ingress()(RayGate))
