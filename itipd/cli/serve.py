"""`itipd serve`: the daemon. It opens everything, says `ready`, waits for a signal, drains, and ends with 0."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import ssl
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from itipd.cli.base import BAD_CONFIG, TRY_AGAIN, App, Command, Failure, pass_app

if TYPE_CHECKING:
    from itipd.config import Config
    from itipd.smtp import Door
    from itipd.web.app import Serving

T = TypeVar("T")

CLOSING = 1.5
"""Seconds of `drain_timeout` that are left for closing what has been drained."""


@click.command(cls=Command)
@click.option("--smtp", metavar="HOST:PORT", help="Where SMTP listens; port 0: any; `-`: off.")
@click.option("--lmtp", metavar="HOST:PORT|unix:PATH", help="Where LMTP listens.")
@click.option("--submission", metavar="HOST:PORT", help="Where the application's own mail comes in.")
@click.option("--http", metavar="HOST:PORT", help="Where the API and the page are.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="How many reader processes.")
@pass_app
def serve(app: App, /, workers: int | None, **doors: str | None) -> None:
    """Run the daemon: mail doors, HTTP, outbox. Prints `ready ...` when everything listens; SIGTERM ends it."""
    options: dict[str, Any] = {name: {"listen": place} for name, place in doors.items() if place is not None}
    if workers is not None:
        options["readers"] = {"count": workers}
    asyncio.run(_serve(app.config(**options)))


async def _serve(config: Config) -> None:
    from itipd.cli.checks import file_problems
    from itipd.log import configure
    from itipd.memory import give_back

    problems = file_problems(config)
    if problems:
        raise Failure("\n".join(problems), BAD_CONFIG)
    configure(config.log.format, config.log.level)
    give_back()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Again and again is the same as once: an Event is set or not.
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        daemon = await Daemon(config).start(stack)
        click.echo(daemon.ready())
        sys.stdout.flush()
        await stop.wait()
        await daemon.drain()


@dataclass(slots=True)
class Daemon:
    """Everything that runs."""

    config: Config
    doors: dict[str, Door] = field(default_factory=dict)
    http: Serving | None = None
    _sending: asyncio.Event = field(default_factory=asyncio.Event)  # set: the outbox and the scheduler stop
    _outbox: asyncio.Task[None] | None = None
    _scheduler: asyncio.Task[None] | None = None

    async def start(self, stack: AsyncExitStack) -> Daemon:
        """Opens all of it; `stack` closes it. What cannot be opened is a Failure that says where and why."""
        from itipd.cli.runtime import Pools, open_inbox, open_store
        from itipd.log import log
        from itipd.outbox import Outbox
        from itipd.scheduler import Scheduler
        from itipd.smtp import serve_smtp

        config = self.config
        store = await stack.enter_async_context(open_store(config))
        pools = await stack.enter_async_context(Pools())
        outbox = Outbox(store, config.relay)
        inbox = await stack.enter_async_context(open_inbox(store, await pools.get(config), config, outbox.wake))
        stack.push_async_callback(self.drain)
        self._outbox = asyncio.create_task(outbox.run(self._sending), name="outbox")
        self._scheduler = asyncio.create_task(Scheduler(store, inbox).run(self._sending), name="scheduler")
        kinds: tuple[Literal["smtp", "lmtp", "submission"], ...] = ("smtp", "lmtp", "submission")
        for kind in kinds:
            if getattr(config, kind).listen is not None:
                self.doors[kind] = await _listen(kind, config, serve_smtp(config, inbox, kind))
        if config.http.listen is not None:
            from itipd.web.app import create_app, serve_http  # FastAPI costs 0.2 s

            web = create_app(store, inbox, config)
            place = config.http.listen
            self.http = await _listen("http", config, serve_http(web, place.host, place.port))
        if config.relay.host is None and config.relay.directory is None:
            log.warning("no relay is configured: outgoing mail waits in the outbox")
        return self

    def ready(self) -> str:
        """The one line on stdout."""
        from itipd.config_values import Endpoint, shown_url

        places = {kind: door.address for kind, door in self.doors.items()}
        if self.http is not None:
            places["http"] = str(Endpoint(*self.http.address))
        doors = " ".join(f"{kind}={places.get(kind, '-')}" for kind in ("smtp", "lmtp", "submission", "http"))
        return f"ready {doors} database={shown_url(self.config.database)}"

    async def drain(self) -> None:
        """Takes nothing new, finishes what is begun, all within `drain_timeout`. A second call does nothing."""
        if self._sending.is_set():
            return
        self._sending.set()
        from itipd.log import log

        # Acknowledged mail is committed, so that ending hard loses nothing: better than hanging.
        asyncio.get_running_loop().call_later(self.config.drain_timeout, os._exit, 0)
        patience = max(self.config.drain_timeout - CLOSING, self.config.drain_timeout / 2)
        draining: list[Awaitable[Any]] = [door.drain(patience) for door in self.doors.values()]
        if self.http is not None:
            draining.append(self.http.drain(patience))
        draining += [asyncio.wait_for(task, patience) for task in (self._outbox, self._scheduler) if task is not None]
        for result in await asyncio.gather(*draining, return_exceptions=True):
            if isinstance(result, TimeoutError):
                log.warning("drain: not everything was finished in time", seconds=patience)
            elif isinstance(result, Exception):
                log.error("drain failed", error=repr(result))


async def _listen(kind: str, config: Config, opening: Awaitable[T]) -> T:
    """What `opening` opens; where it cannot listen, a Failure."""
    section = getattr(config, kind)
    try:
        return await opening
    except ssl.SSLError as error:
        raise Failure(
            f"{kind}.tls_cert: found {section.tls_cert} unusable ({error}), expected a certificate and its key",
            BAD_CONFIG,
        ) from None
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE
        found = "in use" if busy else f"unusable ({error.strerror or error})"
        words = f"{kind}: found {section.listen} {found}, expected it free; choose another with --{kind}"
        raise Failure(f"{words} or {kind}.listen", TRY_AGAIN if busy else BAD_CONFIG) from None
