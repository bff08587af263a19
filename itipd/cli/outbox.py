"""`itipd outbox ...`: outgoing mail, and a person's hand on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import click

from itipd.cli import output
from itipd.cli.base import BAD_CONFIG, WRONG, App, Failure, Group, pass_app, run
from itipd.cli.runtime import now, open_store, quiet
from itipd.config import Config
from itipd.store import Store

KEYS = "id method uid recurrence_id sequence to state attempts next_attempt last_error message_id reason".split()
COLUMNS = ("id", "method", "to", "state", "attempts", "next_attempt", "reason", "uid", "last_error")
STATES = ("waiting", "sending", "sent", "failed", "held")


@click.group(cls=Group)
def outbox() -> None:
    """Outgoing mail: list, show, hold, release, retry, drop, flush."""


@outbox.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those.")
@pass_app
def list_(app: App, state: str | None) -> None:
    """Every outgoing mail."""

    async def work() -> None:
        async with open_store(app.config()) as store:
            if app.as_json:
                async for line in deliveries(store, state):
                    output.one(public(line))
                return
            found = [public(line) async for line in deliveries(store, state)]
            output.rows(found, COLUMNS, as_json=False, empty="Nothing in the outbox.")

    run(work())


@outbox.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def show(app: App, number: int) -> None:
    """One outgoing mail with its attempts."""

    async def work() -> None:
        async with open_store(app.config()) as store:
            found = await store.outbox(number)
        if found is None:
            raise _unknown(number)
        if app.as_json:
            output.one(found)
            return
        attempts = found.pop("attempts_made", [])
        output.fields(found)
        click.echo()
        output.rows(attempts, ("at", "state", "code", "error"), as_json=False, empty="No attempts yet.")

    run(work())


@outbox.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def hold(app: App, number: int) -> None:
    """Keep a waiting mail back."""
    _change(app, number, lambda store: store.hold(number), "waiting")


@outbox.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def release(app: App, number: int) -> None:
    """Let a held mail go."""
    _change(app, number, lambda store: store.release(number), "held")


@outbox.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def retry(app: App, number: int) -> None:
    """Try a failed or waiting mail again, now."""
    _change(app, number, lambda store: store.retry(number), "failed or waiting")


@outbox.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def drop(app: App, number: int) -> None:
    """Give a mail up: it stays as failed, `dropped by hand`."""
    _change(app, number, lambda store: store.drop(number), "waiting, failed or held")


@outbox.command()
@click.option("--deliver", is_flag=True, help="Send from this command; else a running daemon sends.")
@pass_app
def flush(app: App, deliver: bool) -> None:
    """Make everything waiting due now."""

    async def work() -> None:
        config = app.config()
        if deliver and config.relay.host is None and config.relay.directory is None:
            raise Failure("relay: found none, expected relay.host or relay.directory for --deliver", BAD_CONFIG)
        async with open_store(config) as store:
            due = await store.flush_due(now())
            sent = await _deliver(store, config) if deliver else None
        if app.as_json:
            output.one({"due": due, "sent": sent})
        else:
            click.echo(f"{due} due now." if sent is None else f"{due} due now, {sent} delivered.")

    run(work())


async def _deliver(store: Store, config: Config) -> int:
    """Sends everything that is due; how many were sent."""
    from itipd.outbox import Outbox

    quiet()
    sender = Outbox(store, config.relay)
    try:
        return (await sender.deliver_due())["sent"]
    finally:
        await sender.close()


async def deliveries(store: Store, state: str | None = None) -> AsyncIterator[dict[str, Any]]:
    """Every delivery, in order of id."""
    after = None
    while True:
        lines, after = await store.outbox_list(state=state, limit=500, after=after)
        for line in lines:
            yield line
        if after is None:
            return


def public(line: dict[str, Any]) -> dict[str, Any]:
    """A delivery with the keys of the interface, in their order."""
    return {key: line.get(key) for key in KEYS}


def _change(app: App, number: int, work: Callable[[Store], Awaitable[bool]], expected: str) -> None:
    async def change() -> None:
        async with open_store(app.config()) as store:
            done = await work(store)
            found = await store.outbox(number)
        if found is None:
            raise _unknown(number)
        if not done:
            why = f" ({found['last_error']})" if found["state"] == "failed" else ""
            raise Failure(f"outbox {number}: found it {found['state']}{why}, expected it {expected}", WRONG)
        if app.as_json:
            output.one(public(found))
        else:
            click.echo(f"{number} is {found['state']}.")

    run(change())


def _unknown(number: int) -> Failure:
    return Failure(f"outbox {number}: found none, expected an id of `itipd outbox list`", WRONG)
