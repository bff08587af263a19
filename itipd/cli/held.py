"""`itipd held ...`: what waits for a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import click

from itipd.cli import output
from itipd.cli.base import WRONG, App, Failure, Group, pass_app, run
from itipd.cli.meeting import command
from itipd.cli.runtime import open_store
from itipd.orders import AcceptHeld, RejectHeld
from itipd.store import Store

COLUMNS = ("id", "received_at", "reason", "method", "attendee", "partstat", "uid", "mail")


@click.group(cls=Group)
def held() -> None:
    """What waits for a person: unproven senders, party crashers, unknown meetings."""


@held.command("list")
@pass_app
def list_(app: App) -> None:
    """Everything that waits."""

    async def work() -> None:
        async with open_store(app.config()) as store:
            found = [line async for line in _waiting(store)]
        output.rows(found, COLUMNS, as_json=app.as_json, empty="Nothing is held.")

    run(work())


@held.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def show(app: App, number: int) -> None:
    """One held message and the mail that it came in."""

    async def work() -> None:
        async with open_store(app.config()) as store:
            found = await store.held(number)
        if found is None:
            raise Failure(f"held {number}: found none, expected an id of `itipd held list`", WRONG)
        found.pop("raw")
        if app.as_json:
            output.one(found)
        else:
            output.fields(found)

    run(work())


@held.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def accept(app: App, number: int) -> None:
    """Let it count: as if the sender were proven and invited."""
    command(app, AcceptHeld(number))


@held.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def reject(app: App, number: int) -> None:
    """Refuse it; somebody uninvited is told so."""
    command(app, RejectHeld(number))


async def _waiting(store: Store) -> AsyncIterator[dict[str, Any]]:
    after = None
    while True:
        lines, after = await store.held_list(limit=500, after=after)
        for line in lines:
            yield line
        if after is None:
            return
