"""`itipd proposal ...`: what attendees proposed with COUNTER, and the organizer's word on it."""

from __future__ import annotations

import click

from itipd.cli import output
from itipd.cli.base import App, Group, pass_app, run
from itipd.cli.meeting import command
from itipd.cli.runtime import open_store

COLUMNS = ("id", "uid", "attendee", "recurrence_id", "start", "end", "location", "comment", "state")


@click.group(cls=Group)
def proposal() -> None:
    """Counter proposals: list, accept, decline."""


@proposal.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are decided.")
@pass_app
def list_(app: App, everything: bool) -> None:
    """Open proposals."""

    async def work() -> None:
        async with open_store(app.config()) as store:
            found = await store.proposals(state=None if everything else "open")
        output.rows(found, COLUMNS, as_json=app.as_json, empty="No proposals.")

    run(work())


@proposal.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def accept(app: App, number: int) -> None:
    """The meeting takes the proposal: REQUEST to all, PARTSTATs reset except the proposer's."""
    from itipd.orders import AcceptProposal

    command(app, AcceptProposal(number))


@proposal.command()
@click.argument("number", metavar="ID", type=int)
@pass_app
def decline(app: App, number: int) -> None:
    """DECLINECOUNTER to the proposer; the meeting stays."""
    from itipd.orders import DeclineProposal

    command(app, DeclineProposal(number))
