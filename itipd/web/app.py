"""The HTTP door put together: `create_app` makes the application, `serve_http` runs it in the running event loop.

It only translates: reading is the store's, deciding the inbox's. It never installs signal handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from itipd.config import Config
from itipd.inbox import Inbox
from itipd.store import Store
from itipd.web import api, pages
from itipd.web.assets import environment
from itipd.web.guard import Access, Guard, is_loopback
from itipd.web.problems import Kind, Problem, of_status
from itipd.web.ready import Readiness


def create_app(store: Store, inbox: Inbox, config: Config, readiness: Readiness | None = None) -> FastAPI:
    """The application over an open store and a started inbox."""
    ready = readiness or Readiness(store, inbox)
    app = FastAPI(
        title="itipd",
        version=version("itipd"),
        summary="The organizer's mailbox for iTIP.",
        openapi_url="/openapi.json",
        docs_url=None,  # both would load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # an address is one address
        exception_handlers={Problem: _problem, HTTPException: _http, RequestValidationError: _validation},
    )
    app.add_middleware(Guard, access=access(config))
    app.include_router(api.router(store, inbox, config))
    app.include_router(pages.router(store, inbox))

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        trouble = await ready.trouble()
        if trouble is not None:
            raise Problem(Kind.UNAVAILABLE, trouble, headers={"Retry-After": "5"})
        return JSONResponse({"status": "ok", "database": "ok"}, headers={"Cache-Control": "no-store"})

    return app


def access(config: Config) -> Access:
    """Loopback answers only to its own names, so that no foreign name can be pointed at it; elsewhere any name does."""
    listen, names = config.http.listen, frozenset(config.http.names)
    local = listen is None or is_loopback(listen.host)
    return Access(names if local or names else None, config.http.token)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 what it is registered for
    return answer(request, error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return answer(request, Problem(of_status(error.status_code), headers=error.headers))


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = [{"parameter": str(one["loc"][-1]), "detail": one["msg"]} for one in error.errors()]
    detail = "; ".join(f"{one['parameter']}: {one['detail']}" for one in found)
    return answer(request, Problem(Kind.BAD_PARAMETER, detail, errors=found))


def answer(request: Request, problem: Problem) -> Response:
    """A problem as JSON, or as a page for a person who looks at one."""
    api_ = request.url.path.startswith("/v1")
    if api_ or "text/html" not in request.headers.get("accept", ""):
        return problem.response()
    text = (
        environment()
        .get_template("problem.html")
        .render(title=problem.kind.says, detail=problem.detail, status=problem.kind.status)
    )
    return Response(text, problem.kind.status, problem.headers | {"Cache-Control": "no-store"}, "text/html")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise SIGTERM again when it is done (libraries.md)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Serving:
    """The running door. `address` is where it really listens: (host, port)."""

    def __init__(self, server: _Server, task: asyncio.Task[None], address: tuple[str, int]) -> None:
        self._server = server
        self._task = task
        self.address = address

    async def drain(self, patience: float = 5.0) -> None:
        """Takes no new connection, lets running requests end for `patience` seconds, then cuts them. Idempotent."""
        self._server.config.timeout_graceful_shutdown = max(1, round(patience))
        self._server.should_exit = True
        await self._task


async def _listener(host: str, port: int) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    listener = socket.socket(family, kind, protocol)  # with the protocol: asyncio then sets TCP_NODELAY (speed.md)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(256)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


async def serve_http(app: ASGIApp, host: str, port: int, given: socket.socket | None = None) -> Serving:
    """Serves `app` until `drain` at `host`:`port` (0: any free one), or at the socket that was given and listens.

    Raises OSError if it cannot listen.
    """
    listener = given or await _listener(host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",  # a client's nonsense is no event of ours
        access_log=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=1000,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=65_536,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    while not server.started and not task.done():  # noqa: ASYNC110 uvicorn has no event for it
        await asyncio.sleep(0.005)
    if task.done():
        task.result()
    bound = listener.getsockname()
    return Serving(server, task, (bound[0], bound[1]))
