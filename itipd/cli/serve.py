"""`itipd serve`: the daemon. It opens everything, says `ready`, waits for a signal, drains, and ends with 0."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from itipd.cli.base import BAD_CONFIG, App, Command, Failure, pass_app
from itipd.cli.workers import Share, Sockets, Watcher, cannot_listen

if TYPE_CHECKING:
    from itipd.config import Config
    from itipd.smtp import Door
    from itipd.web.app import Serving
    from itipd.web.ready import Readiness

T = TypeVar("T")

CLOSING = 1.5
"""Seconds of `drain_timeout` that are left for closing what has been drained."""


@click.command(cls=Command)
@click.option("--smtp", metavar="HOST:PORT", help="Where SMTP listens; port 0: any; `-`: off.")
@click.option("--lmtp", metavar="HOST:PORT|unix:PATH", help="Where LMTP listens.")
@click.option("--submission", metavar="HOST:PORT", help="Where the application's own mail comes in.")
@click.option("--http", metavar="HOST:PORT", help="Where the API and the page are.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="How many daemons share the ports and the database.",
)
@pass_app
def serve(app: App, /, workers: int, **doors: str | None) -> None:
    """Run the daemon: mail doors, HTTP, outbox. Prints `ready ...` when everything listens; SIGTERM ends it."""
    options: dict[str, Any] = {name: {"listen": place} for name, place in doors.items() if place is not None}
    from itipd.cli.checks import file_problems
    from itipd.log import configure

    config = app.config(**options)
    problems = file_problems(config)
    if problems:
        raise Failure("\n".join(problems), BAD_CONFIG)
    configure(config.log.format, config.log.level)
    share = None
    if workers > 1:
        if "count" not in config.readers.model_fields_set:  # the cores are there once
            readers = config.readers.model_copy(update={"count": max(config.readers.count // workers, 1)})
            config = config.model_copy(update={"readers": readers})
        share = Watcher(config, workers).share()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, share))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop, where the extra `speed` is installed."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


async def _serve(config: Config, share: Share | None) -> None:
    """One daemon, from its start to its end; `share`: what it has where there are several."""
    from itipd import cores
    from itipd.memory import give_back, settle

    cores.together()  # before any thread is started
    give_back()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Again and again is the same as once: an Event is set or not.
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        daemon = await Daemon(config, share.sockets if share is not None else {}).start(stack)
        settle()
        if share is None:
            click.echo(daemon.ready())
            sys.stdout.flush()
        else:
            share.ready(daemon.ready())
            loop.add_reader(share.ends, stop.set)
        await stop.wait()
        if share is not None:
            loop.remove_reader(share.ends)
        await daemon.drain()


@dataclass(slots=True)
class Daemon:
    """Everything that runs."""

    config: Config
    given: Sockets  # door -> where it listens already
    doors: dict[str, Door] = field(default_factory=dict)
    http: Serving | None = None
    _sending: asyncio.Event = field(default_factory=asyncio.Event)  # set: the outbox and the scheduler stop
    _outbox: asyncio.Task[None] | None = None
    _scheduler: asyncio.Task[None] | None = None
    _ready: Readiness | None = None

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
                self.doors[kind] = await _listen(
                    kind, config, serve_smtp(config, inbox, kind, given=self.given.get(kind))
                )
        if config.http.listen is not None:
            from itipd.web.app import create_app, serve_http  # FastAPI costs 0.2 s
            from itipd.web.ready import Readiness

            self._ready = Readiness(store, inbox)
            web = create_app(store, inbox, config, self._ready)
            place = config.http.listen
            serving = serve_http(web, place.host, place.port, self.given.get("http"))
            self.http = await _listen("http", config, serving)
        if os.geteuid() == 0:
            log.warning("running as root: itipd needs no privileges, give it a user of its own")
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

        if self._ready is not None:
            self._ready.draining = True
        # Acknowledged mail is committed, so that ending hard loses nothing: better than hanging.
        loop = asyncio.get_running_loop()
        loop.call_later(self.config.drain_timeout, os._exit, 0)
        patience = max(self.config.drain_timeout - CLOSING, self.config.drain_timeout / 2)
        deadline = loop.time() + patience
        draining: list[Awaitable[Any]] = [door.drain(patience) for door in self.doors.values()]
        draining += [asyncio.wait_for(task, patience) for task in (self._outbox, self._scheduler) if task is not None]
        for result in await asyncio.gather(*draining, return_exceptions=True):
            if isinstance(result, TimeoutError):
                log.warning("drain: not everything was finished in time", seconds=patience)
            elif isinstance(result, Exception):
                log.error("drain failed", error=repr(result))
        if self.http is not None:  # last, so that /readyz can say meanwhile that we are ending
            await self.http.drain(deadline - loop.time())


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
        raise cannot_listen(kind, section.listen, error) from None
