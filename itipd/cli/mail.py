"""`itipd mail ...`: the journal of received mail, as it came, with its outcomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import click

from itipd.cli import output
from itipd.cli.base import WRONG, App, Failure, Group, pass_app, run
from itipd.cli.runtime import open_store
from itipd.store import Store

COLUMNS = ("id", "received_at", "from", "outcome", "reason", "attendee", "partstat", "uid")


@click.group(cls=Group)
def mail() -> None:
    """The journal of received mail, with its outcomes."""


@mail.command("list")
@click.option("--limit", type=click.IntRange(1), help="How many; default: 50, with --json all.")
@pass_app
def list_(app: App, limit: int | None) -> None:
    """The newest mail first."""
    limit = limit if app.as_json else limit or 50

    async def work() -> None:
        async with open_store(app.config()) as store:
            if app.as_json:
                async for line in _newest(store, limit):
                    output.one(line)
                return
            output.rows(
                [flat async for line in _newest(store, limit) for flat in _flat(line)],
                COLUMNS,
                as_json=False,
                empty="No mail.",
            )

    run(work())


@mail.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def show(app: App, number: int) -> None:
    """One mail and what was decided about it."""

    async def work() -> None:
        async with open_store(app.config()) as store:
            found = dict(await _mail(store, number))
        found.pop("raw")
        if app.as_json:
            output.one(found)
            return
        outcomes = found.pop("results")
        output.fields(found)
        for outcome in outcomes:
            click.echo()
            output.fields(outcome)

    run(work())


@mail.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def raw(app: App, number: int) -> None:
    """One mail, byte for byte as it was received."""

    async def work() -> None:
        async with open_store(app.config()) as store:
            found = await _mail(store, number)
        if not found["raw"]:
            raise Failure(f"mail {number}: found its bytes removed, by [retention] or `itipd forget`", WRONG)
        output.octets(found["raw"])

    run(work())


async def _mail(store: Store, number: int) -> dict[str, Any]:
    found = await store.mail(number)
    if found is None:
        raise Failure(f"mail {number}: found none in the journal, expected an id of `itipd mail list`", WRONG)
    return found


async def _newest(store: Store, limit: int | None) -> AsyncIterator[dict[str, Any]]:
    after = None
    left = limit
    while left is None or left > 0:
        lines, after = await store.mail_list(limit=500 if left is None else min(left, 500), after=after)
        for line in lines:
            yield line
        if after is None:
            return
        left = None if left is None else left - len(lines)


def _flat(line: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each outcome of the mail."""
    return [line | outcome for outcome in line["results"]]
