"""The application: the page, the commands over REST, and the socket (docs/serving.md)."""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

import shotstream_jax
from shotstream_jax.serve.bodies import Health, Problem
from shotstream_jax.serve.exchange import Exchange
from shotstream_jax.serve.file_routes import file_routes, picture_routes
from shotstream_jax.serve.guard import Guard
from shotstream_jax.serve.live import Viewers
from shotstream_jax.serve.logs import log_problem
from shotstream_jax.serve.refusal import Refusal
from shotstream_jax.serve.routes import (
    model_routes,
    problems,
    shot_file_routes,
    shot_routes,
    story_routes,
)
from shotstream_jax.serve.service import Service

_STATIC = pathlib.Path(__file__).parent / "static"
_SWEEP = 10.0  # seconds between two looks for stories that nobody uses, and broken ones


def make_app(service: Service) -> FastAPI:
    """The application of a service, behind its guard; it starts and stops the service."""
    app = make_open_app(service)
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    return app


def make_open_app(service: Service) -> FastAPI:
    """The application without its guard, for requests that have passed one (gate)."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """The service runs while the application does."""
        await asyncio.to_thread(service.start)
        sweeping = asyncio.create_task(_sweep(service))
        yield
        sweeping.cancel()
        await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="ShotStream storyboard",
        version=shotstream_jax.__version__,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    _answer_problems(app, service)
    exchange = Exchange(service.studio)
    app.include_router(file_routes(service, exchange), prefix="/api")
    app.include_router(picture_routes(service, exchange), prefix="/api")
    routers = (story_routes, shot_routes, shot_file_routes, model_routes)
    for routes in routers:
        app.include_router(routes(service), prefix="/api")
    _add_health(app, service)
    add_page(app)
    viewers = Viewers(service)

    @app.websocket("/api/stories/{story}/live")
    async def live(socket: WebSocket, story: str) -> None:
        """Events and chunks of a story."""
        await viewers.welcome(socket, story)

    return app


async def _sweep(service: Service) -> None:
    """Lets idle stories go, and opens those again that were broken off, for ever."""
    while True:
        await asyncio.sleep(_SWEEP)
        await asyncio.to_thread(service.studio.sleep)
        await asyncio.to_thread(service.broken_off.reopen)


def _answer_problems(app: FastAPI, service: Service) -> None:
    """Every answer of 4xx and 5xx has the same form."""

    async def refused(_: Request, error: Exception) -> Response:
        """A request that the server refuses."""
        assert isinstance(error, Refusal)
        service.metrics.refused.labels(error.code).inc()
        headers = {}
        if error.retry_after is not None:
            headers["retry-after"] = str(error.retry_after)
        if error.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(error.content(), error.status, headers)

    async def malformed(_: Request, error: Exception) -> Response:
        """A request that is not of the form that OpenAPI tells."""
        assert isinstance(error, RequestValidationError)
        first: Any = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        problem = Problem(
            code="invalid",
            message=f"{place}: {first['msg']}"[:300],
            remedy="see /openapi.json for what it must be",
        )
        return JSONResponse(problem.model_dump(), 422)

    async def plain(request: Request, error: Exception) -> Response:
        """What the framework refuses: an unknown path, a method, a body that is too large."""
        assert isinstance(error, HTTPException)
        if error.status_code == 400:
            return _unreadable()
        headers = error.headers
        allowed = _methods(app, request)
        if error.status_code == 405 and allowed:
            headers = {"allow": ", ".join(allowed)}
        problem = Problem(
            code=f"http_{error.status_code}",
            message=str(error.detail).lower(),
            remedy="see /openapi.json for what there is",
        )
        return JSONResponse(problem.model_dump(), error.status_code, headers)

    async def gone(_: Request, error: Exception) -> Response:
        """The caller has gone before its body was whole, and reads no answer."""
        assert isinstance(error, ClientDisconnect)
        return _unreadable()

    async def no_disk(_: Request, error: Exception) -> Response:
        """The disk refuses a file."""
        assert isinstance(error, OSError)
        log_problem("disk", error)
        refusal = Refusal(503, "disk", "a file cannot be read or written", "try again later", 10)
        return await refused(_, refusal)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(OSError, no_disk)


def _unreadable() -> Response:
    """The answer to a body that is no JSON, or no JSON that anyone would send."""
    problem = Problem(
        code="invalid",
        message="body: it cannot be read as JSON",
        remedy="see /openapi.json for what it must be",
    )
    return JSONResponse(problem.model_dump(), 422)


def _methods(app: FastAPI, request: Request) -> list[str]:
    """The methods that a path of the API takes; none for another path."""
    if not request.url.path.startswith("/api/"):
        return []
    found = []
    for method in ("DELETE", "GET", "PATCH", "POST"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] == Match.FULL for route in app.routes):
            found.append(method)
    return found


def _add_health(app: FastAPI, service: Service) -> None:
    """What watches over the server asks for."""
    problem = problems(503)

    @app.get("/health/live", responses=problem, tags=["health"])
    def live_health() -> Health:
        """Whether the process works; if not, it should be started again."""
        if not service.is_live():
            raise Refusal(503, "dead", "the device's thread has ended", "start the server again")
        return Health(status="live")

    @app.get("/health/ready", responses=problem, tags=["health"])
    def ready_health() -> Health:
        """Whether a shot that is asked for now is made at once."""
        if not service.is_ready():
            raise Refusal(503, "not_ready", "the model is being prepared", "wait some seconds", 2)
        return Health(status="ready")

    @app.get("/metrics", response_class=PlainTextResponse, responses=problems(), tags=["health"])
    def metrics() -> Response:
        """Figures for Prometheus."""
        service.measure()
        data = generate_latest(service.metrics.registry)
        return Response(data, media_type="text/plain; version=0.0.4; charset=utf-8")


def add_page(app: FastAPI) -> None:
    """The page and its files."""

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        """The storyboard."""
        return FileResponse(_STATIC / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/static", StaticFiles(directory=_STATIC))
